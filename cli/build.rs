//! Exports the server's C functions, which Lua reaches through `ffi.C`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic");
}
