//! «Did you mean …»: the nearest known name.

/// The candidate nearest to `name`, if one is near enough to be a slip of the keyboard.
///
/// Near enough is an edit distance (insert, delete, replace, swap neighbours) of at most a third of the
/// name's length, at least one. Case differences cost nothing. Ties go to the earlier candidate.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<u8> = name.bytes().map(|b| b.to_ascii_lowercase()).collect();
    let limit = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(wanted.len()) > limit {
            continue;
        }
        let distance = edit_distance(&wanted, candidate.as_bytes());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance; `b` is compared in lower case.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let b: Vec<u8> = b.iter().map(u8::to_ascii_lowercase).collect();
    let width = b.len() + 1;
    let mut before = vec![0; width];
    let mut previous: Vec<usize> = (0..width).collect();
    let mut current = vec![0; width];
    for (i, &x) in a.iter().enumerate() {
        current[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (previous[j] + usize::from(x != y)).min(previous[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            current[j + 1] = cost;
        }
        std::mem::swap(&mut before, &mut previous);
        std::mem::swap(&mut previous, &mut current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_noise_finds_none() {
        let known = ["proxy_pass", "proxy_bind", "root"];
        assert_eq!(closest("proxypass", known), Some("proxy_pass"));
        assert_eq!(closest("rooot", known), Some("root"));
        assert_eq!(closest("orot", known), Some("root"));
        assert_eq!(closest("ROOT", known), Some("root"));
        assert_eq!(closest("content_by_lua", known), None);
        assert_eq!(closest("", known), None);
    }
}
