//! OpenResty's library `mockeagain`, which suites preload into nginx so that its sockets take one byte at a time.
//!
//! It works beneath `poll` and would make a server stand still that waits by other means. The built-in server is slow
//! by itself instead, as its own variables tell it to. Slow reads (`MOCKEAGAIN=r`) are not imitated.

use std::collections::BTreeMap;

type Variables = BTreeMap<String, Vec<u8>>;

/// Takes the library from those to preload. Whether it was there.
pub(super) fn leave_out(variables: &mut Variables) -> bool {
    let Some(preload) = variables.get_mut("LD_PRELOAD") else { return false };
    let libraries: Vec<&[u8]> = preload.split(|byte| matches!(byte, b' ' | b':')).collect();
    let others: Vec<&[u8]> = libraries.iter().copied().filter(|name| !name.ends_with(b"mockeagain.so")).collect();
    let was_there = others.len() < libraries.len();
    if was_there {
        *preload = others.join(b" ".as_slice());
    }
    was_there
}

/// Lets the built-in server do what the library would.
pub(super) fn build_in(variables: &mut Variables) {
    if !leave_out(variables) {
        return;
    }
    let mode = variables.get("MOCKEAGAIN").cloned().unwrap_or_default().to_ascii_lowercase();
    // Anything but `r` alone slows writes.
    if mode.is_empty() || mode.contains(&b'r') && !mode.contains(&b'w') {
        return;
    }
    variables.insert("RSTY_SLOW_NETWORK".to_owned(), b"1".to_vec());
    if let Some(pattern) = variables.get("MOCKEAGAIN_WRITE_TIMEOUT_PATTERN").cloned() {
        variables.insert("RSTY_SLOW_NETWORK_STALL".to_owned(), pattern);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn other_libraries_stay() {
        let mut some = variables(&[("LD_PRELOAD", "/opt/lib/mockeagain.so libfaketime.so")]);
        assert!(leave_out(&mut some));
        assert_eq!(some["LD_PRELOAD"], b"libfaketime.so");
        assert!(!leave_out(&mut some));
    }

    #[test]
    fn the_built_in_server_is_told_what_the_library_would_do() {
        let mut some = variables(&[
            ("LD_PRELOAD", "mockeagain.so "),
            ("MOCKEAGAIN", "rw"),
            ("MOCKEAGAIN_WRITE_TIMEOUT_PATTERN", "get slow"),
        ]);
        build_in(&mut some);
        assert_eq!(some["RSTY_SLOW_NETWORK"], b"1");
        assert_eq!(some["RSTY_SLOW_NETWORK_STALL"], b"get slow");
        assert_eq!(some["LD_PRELOAD"], b"");
    }

    #[test]
    fn only_who_preloads_it_is_slow() {
        for pairs in [&[("MOCKEAGAIN", "w")][..], &[("LD_PRELOAD", "mockeagain.so"), ("MOCKEAGAIN", "r")]] {
            let mut some = variables(pairs);
            build_in(&mut some);
            assert!(!some.contains_key("RSTY_SLOW_NETWORK"), "{pairs:?}");
        }
    }
}
