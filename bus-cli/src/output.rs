//! What is written: tables for people, JSON lines for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, TableStyle};
use console::{Style, Term};
use serde::Serialize;

/// Where the results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

/// Width of a table when nobody looks at it.
const WIDE: u16 = 400;

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// One JSON value a line instead of tables and sentences.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether progress can be shown beside the results.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// A line for people and programs alike.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// A JSON value in one line.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// `value` for programs, `text` for people.
    pub(crate) fn either(&self, value: &impl Serialize, text: &str) -> io::Result<()> {
        if self.json {
            self.json(value)
        } else {
            self.line(text)
        }
    }

    /// Rows for people.
    pub(crate) fn table(&self, heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_style(TableStyle::new())
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.width());
        table.set_header(heads.iter().map(|text| text.to_uppercase()));
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let head = Style::new().bold();
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match index {
                // Escape sequences in a cell would count as text.
                0 => self.line(&head.apply_to(line).to_string())?,
                _ => self.line(line)?,
            }
        }
        Ok(())
    }

    fn width(&self) -> u16 {
        if self.terminal {
            Term::stdout().size().1
        } else {
            WIDE
        }
    }

    /// `text`, dim where there are colours.
    pub(crate) fn dim(&self, text: &str) -> String {
        Style::new().dim().apply_to(text).to_string()
    }

    /// A remark beside the results, for people only.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            self.complain(text);
        }
    }

    /// A line about what went wrong.
    pub(crate) fn complain(&self, text: &str) {
        // Nothing can be done about an output that is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }
}
