//! What the visitor sees: coloured in a terminal, plain everywhere else.

use std::io::{Write, stdout};

use console::{Term, measure_text_width, style};

use crate::table::Table;

/// Where the run is shown; silent with `--json`.
#[derive(Clone, Copy)]
pub struct Screen {
    silent: bool,
}

/// Columns that the names of the steps take.
const NAMES: usize = 10;

impl Screen {
    pub fn new(silent: bool) -> Self {
        Self { silent }
    }

    /// Whether bars that move can be shown.
    pub fn is_live(self) -> bool {
        !self.silent && Term::stderr().features().is_attended() && Term::stdout().is_term()
    }

    pub fn title(self, text: &str, details: &str) {
        self.line("");
        self.line(&format!(
            "  {} {}",
            style(text).bold(),
            style(details).dim()
        ));
        self.line("");
    }

    /// A step that went as it should, or not.
    pub fn step(self, right: bool, name: &str, text: &str) {
        let mark = if right {
            style("✔").green()
        } else {
            style("✘").red().bold()
        };
        let gap = NAMES.saturating_sub(measure_text_width(name));
        self.line(&format!(
            "  {mark} {}{:gap$}  {text}",
            style(name).bold(),
            ""
        ));
    }

    /// One more line of the step before.
    pub fn more(self, text: &str) {
        self.line(&format!("{:1$}{text}", "", NAMES + 6));
    }

    pub fn table(self, table: &Table) {
        self.line("");
        for line in table.lines(Term::stdout().is_term()) {
            self.line(&format!("  {line}"));
        }
        self.line("");
    }

    pub fn line(self, text: &str) {
        if !self.silent {
            // Whoever closes the pipe has seen enough; the exit code still tells whether all is right.
            let _ = writeln!(stdout(), "{text}");
        }
    }
}
