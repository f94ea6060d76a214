//! Wrong attributes and wrong handlers: one readable error each, where the mistake is.

#[test]
fn mistakes_are_named_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
