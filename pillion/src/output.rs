//! What goes to standard output: results, never diagnostics.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context, Result};
use pillion_host::printable;
use serde_json::Value;

/// Prints a text and a line feed. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the output")
        }
        _ => Ok(()),
    }
}

/// Rows of JSON objects as a table with a head; a member that is not there is `-`.
pub(crate) fn table(columns: &[&str], rows: &[Value]) -> String {
    let head = columns.iter().map(|name| name.replace('_', " ").to_uppercase()).collect();
    let body = rows.iter().map(|row| columns.iter().map(|name| cell(row.get(name))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(body).collect();
    let width = |index: usize| {
        let cells = lines.iter().filter_map(|line| line.get(index));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One value for people: a digest short, a list joined, an object as `name=value`.
pub(crate) fn cell(value: Option<&Value>) -> String {
    /// Enough of a digest to tell two apart.
    const DIGEST_CHARACTERS: usize = "sha256:".len() + 12;
    /// Of what another process says.
    const CELL_BYTES_MAX: usize = 1 << 10;
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.starts_with("sha256:") => {
            text.chars().take(DIGEST_CHARACTERS).collect()
        }
        Some(Value::String(text)) => printable(text, CELL_BYTES_MAX).into_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Object(members)) => {
            let member = |(name, value): (&String, &Value)| format!("{name}={}", cell(Some(value)));
            members.iter().map(member).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [
            json!({ "name": "auth", "digest": format!("sha256:{}", "a".repeat(64)), "calls": 10 }),
            json!({ "name": "ratelimit", "phases": ["request"] }),
        ];
        let expected = "\
NAME       DIGEST               CALLS  PHASES
auth       sha256:aaaaaaaaaaaa  10     -
ratelimit  -                    -      request";
        assert_eq!(table(&["name", "digest", "calls", "phases"], &rows), expected);
    }
}
