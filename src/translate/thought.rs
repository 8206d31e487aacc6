//! Where a model's thinking stood among what it said and called.
//!
//! Chat keeps text and calls apart, and thinking beside both. But a model may think again between its
//! text and a call, and a provider that signs its thinking wants a turn's blocks back in the order that
//! it gave them. So a block of `thinking_blocks` that did not stand first says in a member of its own
//! what stood before it: `"after": { "characters": 12, "tool_calls": 1 }`. Clients send these blocks back
//! as they got them; one that says nothing stood first.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// What a block of thinking says of its place.
const AFTER: &str = "after";

/// What stood before a block of thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Of text, as Unicode counts them: clients may put the text's pieces together.
    pub(super) characters: usize,
    pub(super) calls: usize,
}

impl Place {
    pub(super) fn of(block: &Value) -> Self {
        let count = |name: &str| block[AFTER][name].as_u64().unwrap_or(0);
        let count = |name: &str| usize::try_from(count(name)).unwrap_or(usize::MAX);
        Self { characters: count("characters"), calls: count("tool_calls") }
    }

    /// The place in what comes after `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            characters: self.characters.saturating_sub(before.characters),
            calls: self.calls.saturating_sub(before.calls),
        }
    }

    /// Writes the place into a block, unless it is the first.
    pub(super) fn mark(self, block: &mut Value) {
        let Some(block) = block.as_object_mut() else { return };
        block.shift_remove(AFTER);
        if self != Self::default() {
            let after = json!({ "characters": self.characters, "tool_calls": self.calls });
            block.insert(AFTER.to_owned(), after);
        }
    }
}

/// A block of a turn, in a dialect that has all of a turn in one list.
pub(super) trait Piece {
    fn of_text(text: &str) -> Self;
    fn text(&mut self) -> Option<&mut String>;
}

/// Anthropic's blocks.
impl Piece for Value {
    fn of_text(text: &str) -> Self {
        json!({ "type": "text", "text": text })
    }

    fn text(&mut self) -> Option<&mut String> {
        match self.get_mut("text") {
            Some(Self::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// A turn in the order in which the model made it: thinking at its places, text cut where some stood
/// inside it.
pub(super) fn weave<P: Piece>(
    thoughts: impl Iterator<Item = (Place, P)>,
    content: Vec<P>,
    calls: Vec<P>,
) -> Vec<P> {
    let mut turn = Vec::with_capacity(content.len() + calls.len());
    let mut content = Content { pieces: content.into(), given: 0 };
    let (mut calls, mut before) = (calls.into_iter(), Place::default());
    for (place, thought) in thoughts {
        let between = place.since(before);
        content.give(between.characters, &mut turn);
        turn.extend(calls.by_ref().take(between.calls));
        turn.push(thought);
        before.characters = before.characters.max(place.characters);
        before.calls = before.calls.max(place.calls);
    }
    content.give(usize::MAX, &mut turn);
    turn.extend(calls);
    turn
}

/// What was said and is not yet in the turn.
struct Content<P> {
    pieces: VecDeque<P>,
    /// Bytes of the first piece's text that are in the turn already: a text that is cut often is not
    /// moved as often.
    given: usize,
}

impl<P: Piece> Content<P> {
    /// Gives as many characters of text, with what stands between them.
    fn give(&mut self, mut characters: usize, turn: &mut Vec<P>) {
        while characters > 0
            && let Some(mut piece) = self.pieces.pop_front()
        {
            let text = piece.text().and_then(|text| text.get(self.given..)).unwrap_or_default();
            if let Some((bytes, _)) = text.char_indices().nth(characters) {
                turn.push(P::of_text(text.get(..bytes).unwrap_or_default()));
                self.given += bytes;
                self.pieces.push_front(piece);
                return;
            }
            characters -= text.chars().count();
            if let Some(text) = piece.text() {
                text.drain(..self.given);
            }
            self.given = 0;
            turn.push(piece);
        }
    }
}

#[cfg(test)]
mod tests;
