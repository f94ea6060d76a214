//! A table: names on the left, numbers on the right.

use console::{measure_text_width, style};

/// Rows of numbers under a heading.
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// One number and how it is to be taken.
pub enum Cell {
    Name(String),
    Count(u64),
    /// A number that is wrong unless it is zero.
    Fault(u64),
    /// There is no such number here.
    Nothing,
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Count(count) | Self::Fault(count) => thousands(*count),
            Self::Nothing => "–".to_owned(),
        }
    }

    fn painted(&self, text: &str) -> String {
        match self {
            Self::Name(_) => style(text).bold().to_string(),
            Self::Count(0) | Self::Nothing => style(text).dim().to_string(),
            Self::Count(_) => text.to_owned(),
            Self::Fault(0) => style(text).green().to_string(),
            Self::Fault(_) => style(text).red().bold().to_string(),
        }
    }
}

impl Table {
    pub fn new(heading: &[&str]) -> Self {
        Self {
            heading: heading.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table line by line, with a frame or plain.
    pub fn lines(&self, framed: bool) -> Vec<String> {
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| self.width(column))
            .collect();
        let side = if framed {
            style("│").dim().to_string()
        } else {
            String::new()
        };
        let line = |cells: Vec<String>| {
            let cells: Vec<_> = cells.into_iter().map(|cell| format!(" {cell} ")).collect();
            format!("{side}{}{side}", cells.join(&side))
        };
        let rule = |left: &str, middle: &str, right: &str| {
            let parts: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            style(format!("{left}{}{right}", parts.join(middle)))
                .dim()
                .to_string()
        };

        let mut lines = Vec::new();
        if framed {
            lines.push(rule("╭", "┬", "╮"));
        }
        let heading = self.heading.iter().enumerate();
        lines.push(line(
            heading
                .map(|(column, text)| padded(text, widths[column], column))
                .collect(),
        ));
        lines.push(if framed {
            rule("├", "┼", "┤")
        } else {
            rule("", "", "")
        });
        for row in &self.rows {
            let cells = row.iter().enumerate();
            lines.push(line(
                cells
                    .map(|(column, cell)| {
                        cell.painted(&padded(&cell.text(), widths[column], column))
                    })
                    .collect(),
            ));
        }
        if framed {
            lines.push(rule("╰", "┴", "╯"));
        }
        lines
    }

    fn width(&self, column: usize) -> usize {
        let cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(Cell::text);
        let texts = cells.chain(self.heading.get(column).cloned());
        texts
            .map(|text| measure_text_width(&text))
            .max()
            .unwrap_or(0)
    }
}

/// Names to the left, numbers to the right.
fn padded(text: &str, width: usize, column: usize) -> String {
    let gap = " ".repeat(width.saturating_sub(measure_text_width(text)));
    if column == 0 {
        format!("{text}{gap}")
    } else {
        format!("{gap}{text}")
    }
}

/// `32900` as `32,900`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_separators() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (32_900, "32,900"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["group", "delivered"]);
        table.row(vec![Cell::Name("audit".into()), Cell::Count(32_900)]);
        table.row(vec![Cell::Name("ci".into()), Cell::Nothing]);
        let lines = table.lines(false);
        assert_eq!(lines[0], " group  delivered ");
        assert!(
            lines
                .iter()
                .all(|line| measure_text_width(line) == measure_text_width(&lines[0])),
            "{lines:?}"
        );
        assert_eq!(table.lines(true).len(), lines.len() + 2);
    }
}
