//! `h2_response` of `tools/fuzz`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = rsty_fuzz::find("h2_response").expect("a target of that name");
    (target.run)(bytes);
});
