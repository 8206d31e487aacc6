//! Why a body is not a call, and why a call that can be read may still not be made.
//!
//! The texts are public: they name what is wrong in the client's own words and nothing of ours.

/// Why a body is not a call, or not one that its key may make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("The request body is not valid JSON: {reason} at line {line}, column {column}.")]
    NotJson { reason: String, line: usize, column: usize },
    #[error("The request body must be a JSON object.")]
    NotAnObject,
    #[error("The request body is not a valid form: {0}.")]
    NotAForm(&'static str),
    #[error("Duplicate parameter: '{0}' may be given only once.")]
    Duplicate(&'static str),
    #[error("Unknown parameter: '{written}'. Did you mean '{param}'?")]
    LetterCase { written: String, param: &'static str },
    #[error("Missing required parameter: '{0}'.")]
    Missing(&'static str),
    #[error("Invalid type for '{param}': expected {expected}.")]
    WrongType { param: &'static str, expected: &'static str },
    #[error("Invalid '{0}': it must not be empty.")]
    Empty(&'static str),
    #[error("Invalid '{param}': it must not be longer than {limit} bytes.")]
    TooLong { param: &'static str, limit: usize },
    #[error("Invalid '{0}': it must not hold control characters.")]
    ControlCharacter(&'static str),
    #[error("Invalid '{0}': it names another model than the URL.")]
    OtherModel(&'static str),
    #[error(
        "Invalid '{0}': in a form as large as this one it must stand before the files, because it \
         decides what the call costs."
    )]
    Late(&'static str),
    /// A key with limits asked for what costs where nobody watches.
    #[error(
        "Unsupported parameter: '{0}' cannot be used with a key that has a spending limit, because \
         its cost arises where it cannot be seen."
    )]
    Unwatched(&'static str),
    /// A key with limits asked for something whose price nobody knows.
    #[error(
        "Invalid '{param}': what '{what}' costs is in no price list, so it cannot be used with a key \
         that has a spending limit."
    )]
    Unpriced { param: &'static str, what: String },
}

impl RequestError {
    /// The member that is wrong.
    pub const fn param(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::NotAnObject | Self::NotAForm(_) => None,
            Self::Duplicate(param)
            | Self::LetterCase { param, .. }
            | Self::Missing(param)
            | Self::WrongType { param, .. }
            | Self::Empty(param)
            | Self::TooLong { param, .. }
            | Self::ControlCharacter(param)
            | Self::OtherModel(param)
            | Self::Late(param)
            | Self::Unwatched(param)
            | Self::Unpriced { param, .. } => Some(param),
        }
    }

    /// The word for programs, as `OpenAI` uses it.
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::NotAnObject | Self::NotAForm(_) => None,
            Self::Duplicate(_) => Some("duplicate_parameter"),
            Self::LetterCase { .. } => Some("unknown_parameter"),
            Self::Missing(_) => Some("missing_required_parameter"),
            Self::WrongType { .. } => Some("invalid_type"),
            Self::Empty(_)
            | Self::TooLong { .. }
            | Self::ControlCharacter(_)
            | Self::OtherModel(_)
            | Self::Late(_) => Some("invalid_value"),
            Self::Unwatched(_) => Some("unsupported_parameter"),
            Self::Unpriced { .. } => Some("parameter_without_price"),
        }
    }
}
