//! What the attributes say of functions that cannot be components.

#[test]
fn refusals_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
