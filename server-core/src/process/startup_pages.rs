//! Gives back the memory of code that only the start needs.
//!
//! Reading a configuration, compiling patterns and preparing TLS touch most of the program and of its libraries; serving
//! touches a small part. The pages are the files' own: what is needed again comes back from the system's cache.

use std::ffi::c_void;

/// Unmaps the pages of read-only parts of files that nothing was written to. Best effort.
pub(super) fn forget() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    for (start, length) in untouched(&maps) {
        // SAFETY: the part is mapped read-only from a file and has no page of its own (`Anonymous: 0 kB`), so that
        // every page comes back as it was. Only a loader's relocations write to such parts, and that is over.
        unsafe { libc::madvise(start as *mut c_void, length, libc::MADV_DONTNEED) };
    }
}

/// Addresses and lengths of the parts that may be forgotten, from the text of `/proc/PID/smaps`.
fn untouched(maps: &str) -> Vec<(usize, usize)> {
    let mut parts = Vec::new();
    let mut current = None;
    for line in maps.lines() {
        match line.split_once(':') {
            // A field of the part above.
            Some((name, value)) if !name.contains([' ', '-']) => {
                if name == "Anonymous" && value.trim() == "0 kB" {
                    parts.extend(current.take());
                }
            }
            _ => current = read_only_file(line),
        }
    }
    parts
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE PATH`
fn read_only_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    let is_read_only = matches!(words.next()?, "r-xp" | "r--p");
    let inode = words.nth(2)?;
    (is_read_only && inode != "0").then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
Size:                328 kB
Anonymous:             0 kB
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus-daemon
Size:                  4 kB
Anonymous:             4 kB
00652000-00655000 rw-p 00052000 08:02 173521      /usr/bin/dbus-daemon
Anonymous:             0 kB
00700000-00701000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f00f0000000-7f00f0002000 r--p 00000000 08:02 9   /a path: with-colon
Size:                  8 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
";

    #[test]
    fn only_unchanged_parts_of_files_are_forgotten() {
        assert_eq!(untouched(MAPS), [(0x40_0000, 0x5_2000), (0x7f00_f000_0000, 0x2000)]);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        forget();
        assert_eq!(untouched(MAPS).len(), 2);
    }
}
