//! Integration tests of the binary: pages of commands and what they answer, in `tests/cmd`.

fn main() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
