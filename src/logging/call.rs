//! The line of a call. There is one for every call, and as events lines go through two dynamic calls for
//! each field: this one is written straight into its place where that takes JSON.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::net::IpAddr;

use tracing::Level;

use super::{ACCESS, Line, json, takes_json};

const MESSAGE: &str = "call";

/// What a line says, field by field, as it is written.
pub struct Fields<'a> {
    line: &'a mut String,
    is_json: bool,
}

impl Fields<'_> {
    /// A text, whatever is in it.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        if self.is_json {
            json::write_text(self.line, value);
        } else {
            // A string takes whatever is written to it.
            let _ = write!(self.line, "{value:?}");
        }
    }

    /// What shows as letters, digits and signs that stand in a text as they are.
    pub fn shown(&mut self, name: &'static str, value: impl Display) {
        self.quoted(name, |line| {
            let _ = write!(line, "{value}");
        });
    }

    /// An address as it always shows; that of version 4 without what its formatter costs.
    pub fn address(&mut self, name: &'static str, address: IpAddr) {
        let IpAddr::V4(address) = address else { return self.shown(name, address) };
        self.quoted(name, |line| {
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push('.');
                }
                json::write_number(line, part.into());
            }
        });
    }

    fn quoted(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        self.name(name);
        let quote = if self.is_json { "\"" } else { "" };
        self.line.push_str(quote);
        write(self.line);
        self.line.push_str(quote);
    }

    pub fn number(&mut self, name: &'static str, value: impl Into<u64>) {
        self.name(name);
        json::write_number(self.line, value.into());
    }

    pub fn flag(&mut self, name: &'static str, value: bool) {
        self.name(name);
        self.line.push_str(if value { "true" } else { "false" });
    }

    fn name(&mut self, name: &'static str) {
        if self.is_json {
            return json::write_name(self.line, name);
        }
        self.line.push(' ');
        self.line.push_str(name);
        self.line.push('=');
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
            Line::new(ACCESS, Level::INFO).write_all(line.as_bytes())
        });
    } else {
        let mut line = String::from(MESSAGE);
        fields(&mut Fields { line: &mut line, is_json: false });
        tracing::info!(target: ACCESS, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(is_json: bool) -> String {
        let mut line = String::new();
        let mut fields = Fields { line: &mut line, is_json };
        fields.text("model", "say \"hi\"\n");
        fields.number("status", 200_u16);
        fields.flag("stream", false);
        fields.shown("cost_usd", "0.10");
        line
    }

    #[test]
    fn a_line_says_the_same_to_programs_and_to_people() {
        let members: Value =
            serde_json::from_str(&format!("{{\"first\":0{}}}", written(true))).unwrap();
        let expected = json!({
            "first": 0, "model": "say \"hi\"\n", "status": 200, "stream": false, "cost_usd": "0.10",
        });
        assert_eq!(members, expected);
        assert_eq!(
            written(false),
            r#" model="say \"hi\"\n" status=200 stream=false cost_usd=0.10"#
        );
    }

    #[test]
    fn addresses_show_as_they_do_elsewhere() {
        for text in
            ["0.0.0.0", "1.20.255.100", "255.255.255.255", "127.0.0.1", "10.99.101.9", "::1"]
        {
            let address: IpAddr = text.parse().unwrap();
            let mut line = String::new();
            Fields { line: &mut line, is_json: false }.address("at", address);
            assert_eq!(line, format!(" at={address}"));
        }
    }
}
