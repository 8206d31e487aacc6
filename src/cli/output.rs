//! What commands print: answers on standard output, everything else on standard error.
//!
//! Tables are for terminals; a pipe gets the same rows with tabs between, or JSON when asked.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use super::Failure;

/// Whether somebody reads along.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints an answer. A reader that has gone, as `head` does, is no failure.
pub(super) fn answer(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints an answer for programs.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    text.push('\n');
    answer(&text)
}

/// Tells a person something beside the answer.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says why a command failed.
pub(super) fn complain(text: &str) {
    if text.starts_with("error") {
        note(text.trim_end());
    } else {
        note(&format!("error: {text}"));
    }
}

/// Prints rows under a heading; columns in `numbers` are aligned to the right.
pub(super) fn table(
    heading: &[&str],
    rows: &[Vec<String>],
    numbers: &[usize],
) -> Result<(), Failure> {
    if !is_terminal() {
        let mut text = heading.join("\t").to_lowercase().replace(' ', "_");
        text.push('\n');
        for row in rows {
            text.push_str(&row.join("\t"));
            text.push('\n');
        }
        return answer(&text);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.to_vec());
    for row in rows {
        table.add_row(row.clone());
    }
    for index in numbers {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    answer(&format!("{table}\n"))
}

/// Whether somebody reads the complaints.
pub(super) fn is_read_along() -> bool {
    io::stderr().is_terminal()
}

/// Whether the complaints may have colours.
pub(super) fn is_error_terminal() -> bool {
    is_read_along() && std::env::var_os("NO_COLOR").is_none()
}
