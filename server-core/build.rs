//! Builds LuaJIT and links all of it, so that Lua C modules find the `lua_*` functions in the binary, and embeds its
//! `jit.*` modules.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let luajit = luajit_src::Build::new().lua52compat(true).build();
    println!("cargo:rustc-link-search=native={}", luajit.lib_dir().display());
    println!("cargo:rustc-link-lib=static:+whole-archive={}", luajit.libs()[0]);
    // Unit tests reach the exported C functions through `ffi.C`, as the binary does.
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    embed_modules(Path::new(&out));
}

/// Writes `jit_modules.rs`: names and sources of LuaJIT's own Lua modules.
fn embed_modules(out: &Path) {
    const MODULES: [&str; 10] = ["bc", "bcsave", "dis_arm64", "dis_x64", "dis_x86", "dump", "p", "v", "vmdef", "zone"];
    let folder = out.join("luajit-build/src/jit");
    let mut table = String::from("&[");
    for name in MODULES {
        let source = folder.join(name).with_extension("lua");
        assert!(source.exists(), "LuaJIT has no {}", source.display());
        write!(table, "(c\"jit.{name}\", c\"=jit/{name}.lua\", include_bytes!(\"{}\")),", source.display())
            .expect("memory");
    }
    table.push(']');
    fs::write(out.join("jit_modules.rs"), table).expect("OUT_DIR is writable");
}
