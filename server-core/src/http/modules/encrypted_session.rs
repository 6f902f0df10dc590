//! `encrypted_session`: values that only the server can read, for cookies and links (`set_encrypt_session`,
//! `set_decrypt_session`).
//!
//! A session is the value with the time when it expires behind it (seconds, eight bytes, big-endian), encrypted with
//! AES-256-CBC, behind the MD5 of both. What is damaged, expired or made with another key decrypts to nothing.

use openssl::hash::{MessageDigest, hash};
use openssl::symm::{Cipher, decrypt, encrypt};
use rsty_diag::Diagnostic;

use super::rewrite::directives::PROGRAM;
use super::set_misc::{Filter, one_input};
use crate::conf::value::{Resolution, duplicate, invalid_value, set_with, time};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;
use crate::log::Level;

const KEY_LENGTH: usize = 32;
const IV_LENGTH: usize = 16;
const DIGEST_LENGTH: usize = 16;
const TIME_LENGTH: usize = 8;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    key: Option<[u8; KEY_LENGTH]>,
    iv: Option<[u8; IV_LENGTH]>,
    /// Seconds; 0 for ever.
    expires: Option<u64>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.key = self.key.or(outer.key);
        self.iv = self.iv.or(outer.iv);
        self.expires = self.expires.or(outer.expires);
        Ok(())
    }
}

const PLACES: Contexts = PROGRAM.or(Contexts::HTTP);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "encrypted_session_key", contexts: PLACES, args: Arity::Words(1, 1), apply: key },
    Rule { name: "encrypted_session_iv", contexts: PLACES, args: Arity::Words(1, 1), apply: iv },
    Rule { name: "encrypted_session_expires", contexts: PLACES, args: Arity::Words(1, 1), apply: expires },
    Rule {
        name: "set_encrypt_session",
        contexts: PLACES,
        args: Arity::Words(1, 2),
        apply: |scope, directive| one_input(scope, directive, |r, value| seal(r, value)),
    },
    Rule {
        name: "set_decrypt_session",
        contexts: PLACES,
        args: Arity::Words(1, 2),
        apply: |scope, directive| one_input(scope, directive, |r, session| open(r, session)),
    },
];

/// The directives as functions.
pub(crate) static FILTERS: &[(&str, Filter)] =
    &[("set_encrypt_session", |r, value| seal(r, value)), ("set_decrypt_session", |r, session| open(r, session))];

fn key(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(&mut scope.loc.encrypted_session.key, directive, |word| {
        <[u8; KEY_LENGTH]>::try_from(&word.text[..]).map_err(|_length| {
            let message = format!("encrypted_session_key: the key must be of {KEY_LENGTH} bytes long");
            directive.error_at(word, "invalid_value", message)
        })
    })
}

fn iv(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    set_with(&mut scope.loc.encrypted_session.iv, directive, |word| {
        let mut iv = [0; IV_LENGTH];
        let Some(begin) = iv.get_mut(..word.text.len()) else {
            let message = format!("encrypted_session_iv: the init vector must NOT be longer than {IV_LENGTH} bytes");
            return Err(directive.error_at(word, "invalid_value", message));
        };
        begin.copy_from_slice(&word.text);
        Ok(iv)
    })
}

fn expires(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let slot = &mut scope.loc.encrypted_session.expires;
    if slot.is_some() {
        return Err(duplicate(directive));
    }
    let given = directive.arg(0).and_then(|word| time(&word.text, Resolution::Seconds));
    *slot = Some(given.ok_or_else(|| invalid_value(directive))?.as_secs());
    Ok(())
}

/// The key and the initialization vector of a request's location.
fn secrets(r: &Request) -> Result<([u8; KEY_LENGTH], [u8; IV_LENGTH]), String> {
    let conf = &r.loc().encrypted_session;
    let key =
        conf.key.ok_or("encrypted_session: a key is required to be defined by the encrypted_session_key directive")?;
    Ok((key, conf.iv.unwrap_or(*b"deadbeefdeadbeef")))
}

fn seal(r: &Request, value: &[u8]) -> Result<Vec<u8>, String> {
    let (key, iv) = secrets(r)?;
    let lifetime = r.loc().encrypted_session.expires.unwrap_or(24 * 60 * 60);
    r.log(Level::Debug, format_args!("encrypted_session: expires={lifetime}"));
    let until = match lifetime {
        0 => 0,
        lifetime => now().saturating_add(lifetime),
    };
    let sealed = seal_until(&key, &iv, value, until);
    Ok(sealed.unwrap_or_else(|_refused| {
        r.log(Level::Info, format_args!("encrypted_session: failed to encrypt"));
        Vec::new()
    }))
}

fn open(r: &Request, session: &[u8]) -> Result<Vec<u8>, String> {
    let (key, iv) = secrets(r)?;
    let opened = open_at(&key, &iv, session, now());
    Ok(opened.unwrap_or_else(|why| {
        match why {
            Unreadable::Short => {}
            Unreadable::Cipher => r.log(Level::Debug, format_args!("failed to decrypt session: bad AES-256 digest")),
            Unreadable::Digest => r.log(Level::Debug, format_args!("failed to decrypt session: MD5 checksum mismatch")),
            Unreadable::Expired { until, now } => {
                r.log(Level::Debug, format_args!("encrypted_session: session expired: {until} <= {now}"));
            }
        }
        Vec::new()
    }))
}

fn now() -> u64 {
    u64::try_from(crate::clock::now().sec).unwrap_or_default()
}

/// Why a session gives no value.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    Short,
    Cipher,
    Digest,
    Expired { until: u64, now: u64 },
}

fn seal_until(key: &[u8], iv: &[u8], value: &[u8], until: u64) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let plain = [value, &until.to_be_bytes()].concat();
    let mut session = hash(MessageDigest::md5(), &plain)?.to_vec();
    session.extend(encrypt(Cipher::aes_256_cbc(), key, Some(iv), &plain)?);
    Ok(session)
}

fn open_at(key: &[u8], iv: &[u8], session: &[u8], now: u64) -> Result<Vec<u8>, Unreadable> {
    let (digest, sealed) = session.split_at_checked(DIGEST_LENGTH).ok_or(Unreadable::Short)?;
    let mut plain = decrypt(Cipher::aes_256_cbc(), key, Some(iv), sealed).map_err(|_refused| Unreadable::Cipher)?;
    let computed = hash(MessageDigest::md5(), &plain).map_err(|_refused| Unreadable::Digest)?;
    let length = plain.len().checked_sub(TIME_LENGTH).ok_or(Unreadable::Short)?;
    if !openssl::memcmp::eq(&computed, digest) {
        return Err(Unreadable::Digest);
    }
    let until = plain.split_off(length).try_into().map_or(0, u64::from_be_bytes);
    if until != 0 && until <= now { Err(Unreadable::Expired { until, now }) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[7; KEY_LENGTH];
    const IV: &[u8] = b"0123456789abcdef";

    #[test]
    fn a_session_opens_until_it_expires() {
        let session = seal_until(KEY, IV, b"who", 100).expect("it is sealed");
        assert_eq!(session.len(), DIGEST_LENGTH + 16);
        assert_eq!(open_at(KEY, IV, &session, 99).as_deref(), Ok(&b"who"[..]));
        assert_eq!(open_at(KEY, IV, &session, 100), Err(Unreadable::Expired { until: 100, now: 100 }));
        let session = seal_until(KEY, IV, b"", 0).expect("it is sealed");
        assert_eq!(open_at(KEY, IV, &session, u64::MAX).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let session = seal_until(KEY, IV, b"value", 0).expect("it is sealed");
        assert!(open_at(&[8; KEY_LENGTH], IV, &session, 1).is_err());
        assert_eq!(open_at(KEY, b"another vector..", &session, 1), Err(Unreadable::Digest));
        assert_eq!(open_at(KEY, IV, b"short", 1), Err(Unreadable::Short));
        assert_eq!(open_at(KEY, IV, &session[..session.len() - 1], 1), Err(Unreadable::Cipher));
        let mut damaged = session;
        damaged[0] ^= 1;
        assert_eq!(open_at(KEY, IV, &damaged, 1), Err(Unreadable::Digest));
    }
}
