//! The line of a call. There is one for every call, and as events lines go through two dynamic calls for
//! each field: this one is written straight into its place where that takes JSON.

use std::io::Write as _;
use std::net::IpAddr;

use tracing::Level;

use super::{ACCESS, Line, json, takes_json};
use crate::domain::codec::short::Short;

const MESSAGE: &str = "call";

/// The name of a field with what stands around it: made by [`name!`].
#[derive(Clone, Copy)]
pub struct Name {
    pub json: &'static str,
    pub text: &'static str,
}

/// Names a field.
macro_rules! name {
    ($name:literal) => {
        $crate::logging::Name { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}
pub(crate) use name;

/// What a line says, field by field, as it is written.
pub struct Fields<'a> {
    line: &'a mut Vec<u8>,
    is_json: bool,
}

impl Fields<'_> {
    /// A text, whatever is in it.
    #[inline]
    pub fn text(&mut self, name: Name, value: &str) {
        self.name(name);
        if self.is_json {
            json::write_text(self.line, value);
        } else {
            // A vector takes whatever is written to it.
            let _ = write!(self.line, "{value:?}");
        }
    }

    /// A word of this program: letters only, and signs that stand in a text as they are.
    #[inline]
    pub fn word(&mut self, name: Name, word: &'static str) {
        self.name(name);
        self.line.push(b'"');
        self.line.extend_from_slice(word.as_bytes());
        self.line.push(b'"');
    }

    /// An id or an amount.
    #[inline]
    pub fn short(&mut self, name: Name, value: &Short) {
        self.quoted(name, |line| line.extend_from_slice(value.as_bytes()));
    }

    /// An address as it always shows; that of version 4 without what its formatter costs.
    pub fn address(&mut self, name: Name, address: IpAddr) {
        self.quoted(name, |line| match address {
            IpAddr::V4(address) => {
                for (index, part) in address.octets().into_iter().enumerate() {
                    if index > 0 {
                        line.push(b'.');
                    }
                    json::write_number(line, part.into());
                }
            }
            IpAddr::V6(address) => {
                let _ = write!(line, "{address}");
            }
        });
    }

    #[inline]
    fn quoted(&mut self, name: Name, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        if !self.is_json {
            return write(self.line);
        }
        self.line.push(b'"');
        write(self.line);
        self.line.push(b'"');
    }

    #[inline]
    pub fn number(&mut self, name: Name, value: impl Into<u64>) {
        self.name(name);
        json::write_number(self.line, value.into());
    }

    #[inline]
    pub fn flag(&mut self, name: Name, value: bool) {
        self.name(name);
        json::write_flag(self.line, value);
    }

    #[inline]
    fn name(&mut self, name: Name) {
        let written = if self.is_json { name.json } else { name.text };
        self.line.extend_from_slice(written.as_bytes());
    }
}

/// Writes the line of a call, if anybody wants it.
pub fn call(fields: impl FnOnce(&mut Fields<'_>)) {
    if !tracing::enabled!(target: ACCESS, Level::INFO) {
        return;
    }
    if takes_json(ACCESS) {
        let _ = json::with_line(Level::INFO, |line| {
            json::write_name(line, "message");
            json::write_text(line, MESSAGE);
            fields(&mut Fields { line, is_json: true });
            json::end(line);
            Line::new(ACCESS, Level::INFO).write_all(line)
        });
    } else {
        let mut line = MESSAGE.as_bytes().to_vec();
        fields(&mut Fields { line: &mut line, is_json: false });
        tracing::info!(target: ACCESS, "{}", String::from_utf8_lossy(&line));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::money::Money;

    fn written(is_json: bool) -> String {
        let mut line = Vec::new();
        let mut fields = Fields { line: &mut line, is_json };
        fields.text(name!("model"), "say \"hi\"\n");
        fields.number(name!("status"), 200_u16);
        fields.flag(name!("stream"), false);
        fields.word(name!("ending"), "done");
        fields.short(name!("cost_usd"), &Money::from_nano(100_000_000).text());
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_says_the_same_to_programs_and_to_people() {
        let members: Value =
            serde_json::from_str(&format!("{{\"first\":0{}}}", written(true))).unwrap();
        let expected = json!({
            "first": 0, "model": "say \"hi\"\n", "status": 200, "stream": false, "ending": "done", "cost_usd": "0.10",
        });
        assert_eq!(members, expected);
        assert_eq!(
            written(false),
            r#" model="say \"hi\"\n" status=200 stream=false ending="done" cost_usd=0.10"#
        );
    }

    #[test]
    fn addresses_show_as_they_do_elsewhere() {
        for text in
            ["0.0.0.0", "1.20.255.100", "255.255.255.255", "127.0.0.1", "10.99.101.9", "::1"]
        {
            let address: IpAddr = text.parse().unwrap();
            let mut line = Vec::new();
            Fields { line: &mut line, is_json: false }.address(name!("at"), address);
            assert_eq!(line, format!(" at={address}").as_bytes());
        }
    }
}
