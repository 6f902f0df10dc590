//! Passwords as password files keep them: plain, salted SHA-1, Apache's MD5; all others are the system's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::{MessageDigest, hash};
use openssl::memcmp;
use openssl::sha::sha1;

use crate::process::crypt::crypt;

/// Whether a password belongs to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Match,
    Mismatch,
    /// Only the system's `crypt` can tell ([`verify_by_system`]).
    AskSystem,
}

/// Compares a password with the entry of a password file.
pub(crate) fn verify(password: &[u8], entry: &[u8]) -> Verdict {
    if let Some(plain) = entry.strip_prefix(b"{PLAIN}") {
        return verdict(equal(password, plain));
    }
    if let Some(encoded) = entry.strip_prefix(b"{SHA}") {
        return verdict(STANDARD.decode(encoded).is_ok_and(|digest| equal(&digest, &sha1(password))));
    }
    if let Some(encoded) = entry.strip_prefix(b"{SSHA}") {
        let Ok(decoded) = STANDARD.decode(encoded) else { return Verdict::Mismatch };
        let Some((digest, salt)) = decoded.split_at_checked(20) else { return Verdict::Mismatch };
        return verdict(equal(digest, &sha1(&[password, salt].concat())));
    }
    for magic in [&b"$apr1$"[..], b"$1$"] {
        if let Some(rest) = entry.strip_prefix(magic) {
            let salt = rest.split(|&byte| byte == b'$').next().unwrap_or_default();
            let salt = &salt[..salt.len().min(8)];
            return match md5_crypt(password, salt, magic) {
                Some(computed) => verdict(equal(&computed, entry)),
                None => Verdict::AskSystem,
            };
        }
    }
    Verdict::AskSystem
}

/// Compares a password with an entry that the system's library encrypted. Takes its time, on purpose: not for the
/// event loop.
pub(crate) fn verify_by_system(password: &[u8], entry: &[u8]) -> Result<bool, i32> {
    crypt(password, entry).map(|computed| equal(&computed, entry))
}

fn verdict(matches: bool) -> Verdict {
    if matches { Verdict::Match } else { Verdict::Mismatch }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && memcmp::eq(a, b)
}

fn md5(parts: &[&[u8]]) -> Option<Vec<u8>> {
    hash(MessageDigest::md5(), &parts.concat()).ok().map(|digest| digest.to_vec())
}

/// The MD5-based crypt of BSD (`$1$`) and Apache (`$apr1$`).
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> Option<Vec<u8>> {
    let inner = md5(&[password, salt, password])?;
    let mut seed = [password, magic, salt].concat();
    seed.extend(inner.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        seed.push(if bits & 1 == 1 { 0 } else { password.first().copied().unwrap_or(0) });
        bits >>= 1;
    }
    let mut digest = md5(&[&seed])?;
    for round in 0..1000 {
        let (first, last): (&[u8], &[u8]) = if round & 1 == 1 { (password, &digest) } else { (&digest, password) };
        let salt: &[u8] = if round % 3 == 0 { b"" } else { salt };
        let middle: &[u8] = if round % 7 == 0 { b"" } else { password };
        digest = md5(&[first, salt, middle, last])?;
    }
    let mut out = [magic, salt, b"$"].concat();
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let word = u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]);
        push_base64(&mut out, word, 4);
    }
    push_base64(&mut out, u32::from(digest[11]), 2);
    Some(out)
}

fn push_base64(out: &mut Vec<u8>, mut word: u32, digits: usize) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..digits {
        out.push(ALPHABET[(word & 63) as usize]);
        word >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_entries_are_verified() {
        // From `openssl passwd -apr1 -salt saltsalt secret` and `-1`, and SHA-1 digests of the same word.
        for entry in [
            "{PLAIN}secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
        ] {
            let verdict = verify(b"secret", entry.as_bytes());
            assert_eq!(verdict, Verdict::Match, "{entry}");
            assert_eq!(verify(b"other", entry.as_bytes()), Verdict::Mismatch, "{entry}");
        }
        assert_eq!(verify(b"x", b"$6$salt$digest"), Verdict::AskSystem);
    }

    #[test]
    fn the_system_knows_its_own_schemes() {
        // From `openssl passwd -6 -salt saltsalt secret`.
        let entry =
            b"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
        let Ok(matches) = verify_by_system(b"secret", entry) else { return };
        assert!(matches);
        assert_eq!(verify_by_system(b"other", entry), Ok(false));
        assert_eq!(verify_by_system(b"x\0y", entry), Ok(false));
        assert!(
            verify_by_system(b"secret", b"*0").is_ok_and(|matches| !matches) || verify_by_system(b"x", b"*0").is_err()
        );
    }

    #[test]
    fn salted_sha1_takes_the_salt_after_the_digest() {
        let mut digest = sha1(b"secretNaCl").to_vec();
        digest.extend_from_slice(b"NaCl");
        let entry = format!("{{SSHA}}{}", STANDARD.encode(digest));
        assert_eq!(verify(b"secret", entry.as_bytes()), Verdict::Match);
        assert_eq!(verify(b"secret", b"{SSHA}AAAA"), Verdict::Mismatch);
    }
}
