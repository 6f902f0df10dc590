//! The server's reader of configurations on any bytes.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rsty_diag::Source;
use rsty_server_core::conf::parser;

fuzz_target!(|bytes: &[u8]| {
    // Included files are looked for where there are none.
    let parsed = parser::parse_source(Source::new("nginx.conf", bytes), Path::new("/nonexistent/folder"));
    let _ = parsed.complete();
    let _ = parser::parse_parameter(bytes);
});
