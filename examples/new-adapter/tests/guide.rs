//! The guide quotes the code as it is.

const GUIDE: &str = include_str!("../../../docs/new-adapter.md");
const CODE: [&str; 6] = [
    include_str!("../src/admin.rs"),
    include_str!("../src/bus.rs"),
    include_str!("../src/dead_letters.rs"),
    include_str!("../src/inbound.rs"),
    include_str!("../src/shelf.rs"),
    include_str!("common/mod.rs"),
];

/// Text without white space: a quotation starts at the margin, and its lines may be longer.
fn flat(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn every_quotation_is_in_the_code() {
    let blocks: Vec<&str> = GUIDE
        .split("```text\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(
        blocks.len() >= 6,
        "the guide quotes {} places",
        blocks.len()
    );
    for block in blocks {
        let quoted = flat(block);
        assert!(
            CODE.iter().any(|code| flat(code).contains(&quoted)),
            "the code does not hold:\n{block}"
        );
    }
}
