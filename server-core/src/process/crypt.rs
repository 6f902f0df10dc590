//! The system's password encryption. Its library is looked for when it is first needed, so that servers without
//! passwords run on systems without it.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// `char *crypt_r(const char *phrase, const char *setting, struct crypt_data *data)`
type CryptR = unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> *mut c_char;

/// Room for `struct crypt_data`: 32 KiB in libxcrypt, 128 KiB in old glibc.
const DATA: usize = 256 * 1024;

/// Encrypts a phrase as the setting (an entry of a password file) says. An error is a number of the operating system.
pub(crate) fn crypt(phrase: &[u8], setting: &[u8]) -> Result<Vec<u8>, i32> {
    let crypt_r = function().ok_or(libc::ENOSYS)?;
    // A password with a NUL byte in it is nobody's.
    let Ok(phrase) = CString::new(phrase) else { return Ok(Vec::new()) };
    let setting = CString::new(setting).map_err(|_| libc::EINVAL)?;
    let mut data = vec![0_u64; DATA / 8];
    // SAFETY: both strings end with NUL, the room is zeroed, aligned and large enough, as the function asks; the answer
    // points into it and is copied before it goes.
    unsafe {
        let answer = crypt_r(phrase.as_ptr(), setting.as_ptr(), data.as_mut_ptr().cast());
        if answer.is_null() {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        }
        Ok(CStr::from_ptr(answer).to_bytes().to_vec())
    }
}

fn function() -> Option<CryptR> {
    static FUNCTION: OnceLock<Option<CryptR>> = OnceLock::new();
    *FUNCTION.get_or_init(|| [c"libcrypt.so.1", c"libcrypt.so.2"].into_iter().find_map(load))
}

fn load(library: &CStr) -> Option<CryptR> {
    const FLAGS: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL;
    // SAFETY: names end with NUL; the library stays open for the life of the process, and a symbol of this name has
    // this type by the library's interface.
    unsafe {
        let handle = libc::dlopen(library.as_ptr(), FLAGS);
        if handle.is_null() {
            return None;
        }
        let symbol = libc::dlsym(handle, c"crypt_r".as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute::<*mut c_void, CryptR>(symbol))
    }
}
