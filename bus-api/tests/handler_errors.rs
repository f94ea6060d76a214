//! What the compiler says about functions that are no handlers: readable, and naming what would be right.

#[test]
fn wrong_handlers_are_refused_readably() {
    trybuild::TestCases::new().compile_fail("tests/handler_errors/*.rs");
}
