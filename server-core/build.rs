//! Builds LuaJIT and links all of it, so that Lua C modules find the `lua_*` functions in the binary.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let luajit = luajit_src::Build::new().lua52compat(true).build();
    println!("cargo:rustc-link-search=native={}", luajit.lib_dir().display());
    println!("cargo:rustc-link-lib=static:+whole-archive={}", luajit.libs()[0]);
    // Unit tests reach the exported C functions through `ffi.C`, as the binary does.
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic");
}
