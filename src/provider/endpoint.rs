//! The endpoints a client may call with a model.

/// An OpenAI-shaped endpoint that takes a JSON body with a model in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Moderations,
}

impl Endpoint {
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Embeddings, Self::Moderations];

    /// The path below `/v1/`, which is also its name in receipts and logs.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
        }
    }

    /// Whether a call may ask for a stream.
    pub const fn can_stream(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}
