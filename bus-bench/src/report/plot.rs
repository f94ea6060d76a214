//! The ratios as a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::measured::{Measured, Row};

/// Height of a bar with its text, in pixels.
const LINE: i32 = 18;
const WIDTH: i32 = 1_000;
/// Where the bars begin.
const LEFT: i32 = 520;
const TOP: i32 = 50;
/// Ratios beyond this are cut.
const MOST: f64 = 2.5;

/// Draws a bar for each raw side of each work: how fast the bus is in relation to it, with the spread.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn draw(path: &Path, title: &str, measured: &[Measured]) -> Result<()> {
    let lines: Vec<(String, &Row)> = measured
        .iter()
        .flat_map(|work| {
            let raw = work.sides.iter().filter(|row| row.figures.ratio.is_some());
            raw.map(move |row| {
                let what = format!("{}, {} B, to {}", work.work, work.payload, row.side);
                (what, row)
            })
        })
        .collect();
    let bottom = TOP + LINE * i32::try_from(lines.len())?;
    let size = (WIDTH.unsigned_abs(), (bottom + 40).unsigned_abs());
    let area = SVGBackend::new(path, size).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let text = |words: &str, at: (i32, i32), size: i32| {
        let element = Text::new(words.to_owned(), at, ("sans-serif", size).into_font());
        area.draw(&element).map_err(|error| failed(&error))
    };
    text(title, (10, 10), 18)?;
    for tenths in [0, 5, 10, 15, 20, 25] {
        let x = across(f64::from(tenths) / 10.0);
        let style = if tenths == 10 {
            BLACK
        } else {
            RGBColor(210, 210, 210)
        };
        let line = PathElement::new(vec![(x, TOP - 6), (x, bottom)], style);
        area.draw(&line).map_err(|error| failed(&error))?;
        text(
            &format!("{:.1}", f64::from(tenths) / 10.0),
            (x - 8, bottom + 6),
            12,
        )?;
    }
    for (y, (what, row)) in (TOP..).step_by(LINE.unsigned_abs() as usize).zip(&lines) {
        let Some(ratio) = row.figures.ratio else {
            continue;
        };
        text(what, (10, y), 12)?;
        let color = if ratio.median >= 0.9 {
            RGBColor(60, 140, 90)
        } else {
            RGBColor(200, 120, 50)
        };
        let bar = [(across(0.0), y), (across(ratio.median), y + LINE - 6)];
        let middle = y + (LINE - 6) / 2;
        let spread = vec![(across(ratio.least), middle), (across(ratio.most), middle)];
        area.draw(&Rectangle::new(bar, color.filled()))
            .map_err(|error| failed(&error))?;
        area.draw(&PathElement::new(spread, BLACK))
            .map_err(|error| failed(&error))?;
        text(&format!("{:.2}", ratio.median), (WIDTH - 40, y), 12)?;
    }
    area.present().map_err(|error| failed(&error))
}

/// Where a ratio lies.
#[expect(clippy::cast_possible_truncation, reason = "pixels of a picture")]
fn across(ratio: f64) -> i32 {
    LEFT + (ratio.clamp(0.0, MOST) / MOST * f64::from(WIDTH - 50 - LEFT)) as i32
}
