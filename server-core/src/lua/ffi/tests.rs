//! The exported names are really there, as Lua sees them.

use std::ffi::CString;

use super::symbols::EXPORTED;

#[test]
fn every_symbol_resolves() {
    let missing: Vec<&str> = EXPORTED
        .iter()
        .copied()
        .filter(|name| {
            let name = CString::new(*name).unwrap();
            // SAFETY: a look-up by name in this very process.
            unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.is_null()
        })
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
