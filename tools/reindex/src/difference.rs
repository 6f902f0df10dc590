//! Differences between two versions of a file, as `diff -u` writes them.

use similar::TextDiff;

/// The unified difference. Bytes that are no UTF-8 come out as they are.
pub fn unified(name: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let difference = TextDiff::from_lines(old, new);
    let mut out = format!("--- a/{0}\n+++ b/{0}\n", name.trim_start_matches('/')).into_bytes();
    for hunk in difference.unified_diff().context_radius(3).iter_hunks() {
        out.extend_from_slice(format!("{}\n", hunk.header()).as_bytes());
        for change in hunk.iter_changes() {
            out.extend_from_slice(change.tag().to_string().as_bytes());
            out.extend_from_slice(change.value());
            if change.missing_newline() {
                out.extend_from_slice(b"\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_bytes() {
        let text = unified("a.t", b"=== TEST 2\n\xff\n", b"=== TEST 1\n\xff\n");
        assert!(text.starts_with(b"--- a/a.t\n+++ b/a.t\n@@ -1,2 +1,2 @@\n-=== TEST 2\n+=== TEST 1\n"));
        assert!(text.contains(&0xff));
    }
}
