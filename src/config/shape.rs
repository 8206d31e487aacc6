//! What may be written in the configuration file, as the code that reads it asks for it.
//!
//! There is no second list of options that could differ from the first: a file is read that has
//! nothing in it but every table, and each question is noted. Nothing here knows what an option means.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// What an option may be.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text,
    Texts,
    TextOrTexts,
    Flag,
    Integer(RangeInclusive<u64>),
    Integers(RangeInclusive<u64>),
    /// One of these words.
    Choice(Vec<&'static str>),
    /// A length of time between two.
    Duration(RangeInclusive<&'static str>),
    /// A size between two, or a number of bytes.
    Size(RangeInclusive<&'static str>),
    /// Dollars, as a number or as a text.
    Amount,
    Table(Rc<Outline>),
    Tables(Rc<Outline>),
    /// A word, or a table.
    WordOrTable(&'static str, Rc<Outline>),
}

/// The options of a table, in the order in which they are read.
#[derive(Debug, Default)]
pub(super) struct Outline {
    options: RefCell<Vec<(String, Shape)>>,
    /// What its entries are whose names are the user's: those that begin so.
    named: RefCell<Option<(&'static str, Shape)>>,
}

impl Outline {
    pub(super) fn note(&self, key: &str, shape: Shape) {
        let mut options = self.options.borrow_mut();
        if !options.iter().any(|(known, _)| known == key) {
            options.push((key.to_owned(), shape));
        }
    }

    pub(super) fn note_named(&self, prefix: &'static str, shape: Shape) {
        *self.named.borrow_mut() = Some((prefix, shape));
    }

    pub(super) fn options(&self) -> Vec<(String, Shape)> {
        self.options.borrow().clone()
    }

    /// The prefix and the shape of entries with names of the user's.
    pub(super) fn named(&self) -> Option<(&'static str, Shape)> {
        self.named.borrow().clone()
    }
}
