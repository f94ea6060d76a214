//! The tables in the documentation, as data.

const TEXT: &str = include_str!("../../src/telemetry/mod.rs");

/// The words in backticks of each column, of each row whose first word begins with `prefix`.
fn rows(prefix: &str) -> impl Iterator<Item = Vec<Vec<&'static str>>> {
    let words = |column: &'static str| column.split('`').skip(1).step_by(2).collect::<Vec<_>>();
    TEXT.lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(move |row| row.starts_with(prefix))
        .map(move |row| row.split('|').map(words).collect())
}

/// Name, kind and labels of every metric.
pub(crate) fn metrics() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let kind = |name: &str| {
        let line = TEXT
            .lines()
            .find(|line| line.contains(&format!("`{name}`")));
        line.unwrap().split('|').nth(2).unwrap().trim()
    };
    rows("`bus_")
        .map(|row| (row[0][0], kind(row[0][0]), row[2].clone()))
        .collect()
}

/// Name, `otel.kind`, operation type and fields of every span.
pub(crate) fn spans() -> Vec<(&'static str, &'static str, &'static str, Vec<&'static str>)> {
    ["`publish`", "`request`", "`process`"]
        .into_iter()
        .flat_map(rows)
        .map(|row| (row[0][0], row[1][0], row[2][0], row[3].clone()))
        .collect()
}
