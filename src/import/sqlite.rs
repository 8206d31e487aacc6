//! Reads the tables of an SQLite database from its bytes: enough for rows of plain tables, and nothing
//! else. What is not whole is an error, never a guess.
//!
//! As the format is published (sqlite.org, "Database File Format"). A database in WAL mode may have its
//! newest rows in a file beside it, which is not read here: who calls must see that it is empty.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Why the bytes are no database that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqliteError {
    #[error("it does not begin as one does")]
    NotSqlite,
    #[error("it breaks off, or a page of it says what cannot be")]
    Damaged,
    #[error("its texts are in UTF-16")]
    Utf16,
}

/// A row by its columns' names.
pub(super) type Row = HashMap<String, Value>;

/// No tree of a database that is whole is as deep.
const MAX_DEPTH: usize = 40;

/// A database in memory.
pub(super) struct Database<'a> {
    bytes: &'a [u8],
    page_size: usize,
    /// Bytes at the end of each page that are not used.
    reserved: usize,
}

impl<'a> Database<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, SqliteError> {
        let head = bytes.get(..100).ok_or(SqliteError::NotSqlite)?;
        if !head.starts_with(b"SQLite format 3\0") {
            return Err(SqliteError::NotSqlite);
        }
        let page_size = match usize::from(number16(head, 16)?) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => size,
            _ => return Err(SqliteError::Damaged),
        };
        // 1 is UTF-8; an empty database has not chosen yet.
        if number32(head, 56)? > 1 {
            return Err(SqliteError::Utf16);
        }
        Ok(Self { bytes, page_size, reserved: usize::from(head[20]) })
    }

    /// All rows of a table; `None` if there is none of that name.
    pub(super) fn table(&self, name: &str) -> Result<Option<Vec<Row>>, SqliteError> {
        let mut found = None;
        self.walk(1, 0, &mut |_, record| {
            let text = |index: usize| record.get(index).and_then(Value::as_str);
            if text(0) == Some("table") && text(1) == Some(name) {
                let root = record.get(3).and_then(Value::as_u64);
                found = root.zip(text(4).map(columns));
            }
        })?;
        let Some((root, columns)) = found else { return Ok(None) };
        let root = u32::try_from(root).map_err(|_| SqliteError::Damaged)?;
        let mut rows = Vec::new();
        self.walk(root, 0, &mut |id, record| {
            let mut row = Row::new();
            for (index, column) in columns.iter().enumerate() {
                // Columns that came later are absent from older rows.
                let value = record.get(index).cloned().unwrap_or_default();
                // The key of a row stands beside it, and is nothing in it.
                let is_id = column.is_key && value.is_null();
                row.insert(column.name.clone(), if is_id { json!(id) } else { value });
            }
            rows.push(row);
        })?;
        Ok(Some(rows))
    }

    fn page(&self, number: u32) -> Result<&'a [u8], SqliteError> {
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let start = index.and_then(|index| index.checked_mul(self.page_size));
        let start = start.ok_or(SqliteError::Damaged)?;
        let end = start.checked_add(self.page_size).ok_or(SqliteError::Damaged)?;
        self.bytes.get(start..end).ok_or(SqliteError::Damaged)
    }

    /// Visits the rows below a page of a table.
    fn walk(
        &self,
        number: u32,
        depth: usize,
        visit: &mut dyn FnMut(i64, Vec<Value>),
    ) -> Result<(), SqliteError> {
        if depth > MAX_DEPTH {
            return Err(SqliteError::Damaged);
        }
        let page = self.page(number)?;
        // The first page begins with the head of the file.
        let start = if number == 1 { 100 } else { 0 };
        let kind = *page.get(start).ok_or(SqliteError::Damaged)?;
        let cells = usize::from(number16(page, start + 3)?);
        let head = match kind {
            INNER => 12,
            LEAF => 8,
            _ => return Err(SqliteError::Damaged),
        };
        for index in 0..cells {
            let at = usize::from(number16(page, start + head + 2 * index)?);
            if kind == INNER {
                self.walk(number32(page, at)?, depth + 1, visit)?;
            } else {
                let (id, payload) = self.cell(page, at)?;
                visit(id, record(&payload)?);
            }
        }
        if kind == INNER {
            self.walk(number32(page, start + 8)?, depth + 1, visit)?;
        }
        Ok(())
    }

    /// The key and the bytes of a row, with what did not fit into its page.
    fn cell(&self, page: &[u8], at: usize) -> Result<(i64, Vec<u8>), SqliteError> {
        let mut input = Input(page.get(at..).ok_or(SqliteError::Damaged)?);
        let length = usize::try_from(input.varint()?).map_err(|_| SqliteError::Damaged)?;
        let id = input.varint()?.cast_signed();
        if length > self.bytes.len() {
            return Err(SqliteError::Damaged);
        }
        let usable = self.page_size.checked_sub(self.reserved).ok_or(SqliteError::Damaged)?;
        let most = usable.checked_sub(35).ok_or(SqliteError::Damaged)?;
        if length <= most {
            return Ok((id, input.take(length)?.to_vec()));
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (usable - 4);
        let local = if fitting <= most { fitting } else { least };
        let mut payload = input.take(local)?.to_vec();
        let mut next = number32(input.0, 0)?;
        while payload.len() < length && next != 0 {
            let page = self.page(next)?;
            next = number32(page, 0)?;
            let part = (length - payload.len()).min(usable - 4);
            payload.extend_from_slice(page.get(4..4 + part).ok_or(SqliteError::Damaged)?);
        }
        if payload.len() == length { Ok((id, payload)) } else { Err(SqliteError::Damaged) }
    }
}

/// Pages of a table: those with rows, and those that lead to others.
const LEAF: u8 = 13;
const INNER: u8 = 5;

fn number16(bytes: &[u8], at: usize) -> Result<u16, SqliteError> {
    let two = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    two.map(|two| u16::from_be_bytes(*two)).ok_or(SqliteError::Damaged)
}

fn number32(bytes: &[u8], at: usize) -> Result<u32, SqliteError> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    four.map(|four| u32::from_be_bytes(*four)).ok_or(SqliteError::Damaged)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SqliteError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SqliteError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Seven bits a byte, high first; the ninth byte has eight.
    fn varint(&mut self) -> Result<u64, SqliteError> {
        let mut value = 0u64;
        for index in 0..9 {
            let byte = self.take(1)?[0];
            if index == 8 {
                return Ok(value << 8 | u64::from(byte));
            }
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn integer(&mut self, bytes: usize) -> Result<i64, SqliteError> {
        let taken = self.take(bytes)?;
        let is_negative = taken.first().is_some_and(|byte| byte & 0x80 != 0);
        let start = if is_negative { -1i64 } else { 0 };
        Ok(taken.iter().fold(start, |value, byte| value << 8 | i64::from(*byte)))
    }
}

/// The values of a row.
fn record(payload: &[u8]) -> Result<Vec<Value>, SqliteError> {
    let mut head = Input(payload);
    let length = usize::try_from(head.varint()?).map_err(|_| SqliteError::Damaged)?;
    let of_head = payload.len() - head.0.len();
    let types = length.checked_sub(of_head).ok_or(SqliteError::Damaged)?;
    let mut types = Input(head.take(types)?);
    let mut body = Input(head.0);
    let mut values = Vec::new();
    while !types.0.is_empty() {
        let kind = types.varint()?;
        let bytes = |kind: u64| usize::try_from(kind / 2).map_err(|_| SqliteError::Damaged);
        values.push(match kind {
            0 => Value::Null,
            1..=4 => json!(body.integer(usize::try_from(kind).unwrap_or_default())?),
            5 => json!(body.integer(6)?),
            6 => json!(body.integer(8)?),
            7 => json!(f64::from_bits(body.integer(8)?.cast_unsigned())),
            8 => json!(0),
            9 => json!(1),
            10 | 11 => return Err(SqliteError::Damaged),
            // Bytes that are no text are nothing that an import looks at.
            kind if kind.is_multiple_of(2) => {
                body.take(bytes(kind - 12)?)?;
                Value::Null
            }
            kind => Value::from(String::from_utf8_lossy(body.take(bytes(kind - 13)?)?)),
        });
    }
    Ok(values)
}

struct Column {
    name: String,
    /// It is another name for the key of the row.
    is_key: bool,
}

/// The columns of a table as it was made by `CREATE TABLE`.
fn columns(statement: &str) -> Vec<Column> {
    let Some((_, inside)) = statement.split_once('(') else { return Vec::new() };
    let inside = inside.rsplit_once(')').map_or(inside, |(inside, _)| inside);
    let mut columns = Vec::new();
    for definition in at_commas(inside) {
        let definition = definition.trim();
        let (name, rest) = named(definition);
        let is_constraint = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"]
            .iter()
            .any(|word| definition.get(..word.len()).is_some_and(|s| s.eq_ignore_ascii_case(word)));
        if name.is_empty() || (is_constraint && !definition.starts_with(['`', '"', '['])) {
            continue;
        }
        let rest = rest.to_ascii_uppercase();
        columns.push(Column {
            name,
            is_key: rest.contains("PRIMARY KEY") && rest.trim_start().starts_with("INTEGER"),
        });
    }
    // GORM writes the key as a constraint after the columns.
    let upper = inside.to_ascii_uppercase();
    if let Some((_, key)) = upper.split_once("PRIMARY KEY (") {
        let key = key.split(')').next().unwrap_or_default();
        let key = key.trim_matches(['`', '"', '[', ']', ' ']).to_ascii_lowercase();
        let column = columns.iter_mut().find(|column| column.name.to_ascii_lowercase() == key);
        if let Some(column) = column {
            column.is_key = true;
        }
    }
    columns
}

/// What is between commas that are neither in brackets nor in quotes.
fn at_commas(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut quote, mut start) = (Vec::new(), 0usize, None, 0);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) => {
                if c == open {
                    quote = None;
                }
            }
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The name that a definition begins with, with or without quotes, and the rest.
fn named(definition: &str) -> (String, &str) {
    let quotes = [('`', '`'), ('"', '"'), ('[', ']')];
    for (open, close) in quotes {
        if let Some((name, rest)) =
            definition.strip_prefix(open).and_then(|rest| rest.split_once(close))
        {
            return (name.to_owned(), rest);
        }
    }
    let (name, rest) = definition.split_once(char::is_whitespace).unwrap_or((definition, ""));
    (name.to_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_are_read_from_the_statement() {
        let of = |statement: &str| -> Vec<(String, bool)> {
            columns(statement).into_iter().map(|column| (column.name, column.is_key)).collect()
        };
        let key = |name: &str, is_key| (name.to_owned(), is_key);
        assert_eq!(
            of(
                "CREATE TABLE `a` (`id` integer PRIMARY KEY AUTOINCREMENT,`group` varchar(32) DEFAULT 'a,b',`x` decimal(1,2))"
            ),
            [key("id", true), key("group", false), key("x", false)]
        );
        assert_eq!(
            of(
                "CREATE TABLE b (id integer, [key] text, PRIMARY KEY (`id`), CONSTRAINT u UNIQUE (key))"
            ),
            [key("id", true), key("key", false)]
        );
    }

    #[test]
    fn what_is_no_database_is_an_error() {
        assert_eq!(Database::open(b"").err(), Some(SqliteError::NotSqlite));
        assert_eq!(Database::open(&[b'x'; 4096]).err(), Some(SqliteError::NotSqlite));
        let mut head = b"SQLite format 3\0".to_vec();
        head.resize(100, 0);
        head[16] = 2;
        let database = Database::open(&head).unwrap();
        assert_eq!(database.table("a").err(), Some(SqliteError::Damaged));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut file = b"SQLite format 3\0".to_vec();
            file.extend(&[2, 0]);
            file.extend(bytes);
            file.resize(4096, 13);
            if let Ok(database) = Database::open(&file) {
                let _ = database.table("a");
            }
            let _ = record(&file);
        }
    }
}
