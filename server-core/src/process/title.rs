//! The process title that `ps` shows: `nginx: worker process`.
//!
//! The kernel shows the memory that held the arguments at the start. It is overwritten in place, up to the end
//! of the environment that follows it; the environment was copied by then.

use std::sync::OnceLock;

/// The address and length of the memory of arguments and environment.
static AREA: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Sets the title. Cut to the room there is; on systems that hide the place, nothing happens.
///
/// Nobody may use pointers to the arguments or to the starting environment afterwards: call it only after the
/// environment was replaced by copies ([`super::sys::replace_environment`] or [`keep_environment`]).
pub(super) fn set(title: &str) {
    let Some((start, length)) = *AREA.get_or_init(area) else { return };
    if length < 2 {
        return;
    }
    let used = title.len().min(length - 1);
    // SAFETY: the kernel says that these bytes are the process's own argument and environment strings, which are
    // writable. This module is their only user from now on, as the documentation demands.
    let memory = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
    memory.fill(0);
    memory[..used].copy_from_slice(&title.as_bytes()[..used]);
}

/// Copies the environment out of the memory that [`set`] overwrites.
pub(super) fn keep_environment() {
    let variables: Vec<_> = std::env::vars_os().collect();
    super::sys::replace_environment(&variables);
}

/// Fields 48 to 51 of `/proc/self/stat`: where arguments and environment start and end.
fn area() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first field behind the name is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
    let (start, end) = (field(48)?, field(51)?);
    (start != 0 && end > start && end - start < 1 << 22).then(|| (start, end - start))
}
