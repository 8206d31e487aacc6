//! Rows for spreadsheets: RFC 4180, with anything that a spreadsheet would run as a formula made text.

/// The first line: the headings as identifiers.
pub fn heading(names: &[&str]) -> String {
    line(names.iter().map(|name| name.to_lowercase().replace(' ', "_")))
}

pub fn row(fields: &[String]) -> String {
    line(fields.iter().map(|field| self::field(field)))
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let mut line = fields.collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

fn field(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_amount(field);
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

/// A negative amount is a number to a spreadsheet, and nothing else.
fn is_amount(field: &str) -> bool {
    let digits = field.strip_prefix('-').unwrap_or_default();
    let parts: Vec<_> = digits.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() <= 2 && parts.iter().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_never_formulas() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("-0.50", "-0.50"),
            ("-7", "-7"),
            ("-1+1", "'-1+1"),
            ("-1.2.3", "'-1.2.3"),
            ("-", "'-"),
            ("+1", "'+1"),
            ("=A1,\"b\"", "\"'=A1,\"\"b\"\"\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(field(text), expected, "{text}");
        }
    }
}
