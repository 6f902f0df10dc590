//! `ngx_http_ssl_module`: TLS for clients.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{SslContext, SslRef, SslSessionCacheMode};
use openssl::x509::{X509, X509NameRef, X509VerifyResult};
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Contexts, Directive, Rule, value};
use crate::http::conf::{Merge, Scope};
use crate::http::request::Request;
use crate::http::variables::VariableDef;
use crate::log::Level;
use crate::tls::context::{self, Settings};
use crate::tls::{server, sys_offers};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a location.
pub type LocConf = ();

/// `ssl_verify_client`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VerifyClient {
    Off,
    On,
    Optional,
    OptionalNoCa,
}

/// Settings of a server.
#[derive(Default)]
pub struct SrvConf {
    certificates: Option<Vec<PathBuf>>,
    keys: Option<Vec<PathBuf>>,
    protocols: Option<u32>,
    ciphers: Option<Box<[u8]>>,
    prefer_server_ciphers: Option<bool>,
    verify_client: Option<VerifyClient>,
    verify_depth: Option<u32>,
    client_certificate: Option<PathBuf>,
    trusted_certificate: Option<PathBuf>,
    crl: Option<PathBuf>,
    dhparam: Option<PathBuf>,
    password_file: Option<PathBuf>,
    ecdh_curve: Option<Box<[u8]>>,
    session_cache: Option<bool>,
    session_tickets: Option<bool>,
    session_timeout: Option<Duration>,
    buffer_size: Option<usize>,
    reject_handshake: Option<bool>,
    early_data: Option<bool>,
    stapling: Option<bool>,
    stapling_verify: Option<bool>,
    stapling_file: Option<Box<[u8]>>,
    stapling_responder: Option<Box<[u8]>>,
    session_ticket_keys: Option<Vec<Box<[u8]>>>,
    key_log: Option<Box<[u8]>>,
    commands: Option<value::KeyValues>,
    context: OnceCell<SslContext>,
}

const HTTP_SERVER: Contexts = Contexts::HTTP.or(Contexts::SERVER);

const fn one(name: &'static str, apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>) -> Rule {
    Rule { name, contexts: HTTP_SERVER, args: Arity::Words(1, 1), apply }
}

const fn flag(name: &'static str, apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>) -> Rule {
    Rule { name, contexts: HTTP_SERVER, args: Arity::Flag, apply }
}

/// A rule's function that fills a setting with `value::$set`.
macro_rules! set {
    ($set:ident, $field:ident) => {
        |scope, directive| value::$set(&mut scope.srv.ssl.$field, directive)
    };
}

/// A rule's function for a file beside the configuration.
macro_rules! file {
    ($field:ident) => {
        |scope, directive| {
            let path = path_of(scope, directive);
            if scope.srv.ssl.$field.is_some() {
                return Err(value::duplicate(directive));
            }
            scope.srv.ssl.$field = path;
            Ok(())
        }
    };
}

/// A rule's function for one of several files.
macro_rules! files {
    ($field:ident) => {
        |scope, directive| {
            if let Some(path) = path_of(scope, directive) {
                scope.srv.ssl.$field.get_or_insert_default().push(path);
            }
            Ok(())
        }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    one("ssl_certificate", files!(certificates)),
    one("ssl_certificate_key", files!(keys)),
    one("ssl_password_file", file!(password_file)),
    one("ssl_dhparam", file!(dhparam)),
    one("ssl_ecdh_curve", set!(set_string, ecdh_curve)),
    Rule { name: "ssl_protocols", contexts: HTTP_SERVER, args: Arity::Words(1, Arity::MANY), apply: protocols },
    one("ssl_ciphers", set!(set_string, ciphers)),
    one("ssl_buffer_size", set!(set_size, buffer_size)),
    one("ssl_verify_client", |scope, directive| {
        const WORDS: &[(&str, VerifyClient)] = &[
            ("off", VerifyClient::Off),
            ("on", VerifyClient::On),
            ("optional", VerifyClient::Optional),
            ("optional_no_ca", VerifyClient::OptionalNoCa),
        ];
        value::set_enum(&mut scope.srv.ssl.verify_client, directive, WORDS)
    }),
    one("ssl_verify_depth", set!(set_number, verify_depth)),
    one("ssl_client_certificate", file!(client_certificate)),
    one("ssl_trusted_certificate", file!(trusted_certificate)),
    flag("ssl_prefer_server_ciphers", set!(set_flag, prefer_server_ciphers)),
    Rule { name: "ssl_session_cache", contexts: HTTP_SERVER, args: Arity::Words(1, 2), apply: session_cache },
    flag("ssl_session_tickets", set!(set_flag, session_tickets)),
    one("ssl_session_ticket_key", set!(push_string, session_ticket_keys)),
    one("ssl_session_timeout", set!(set_sec, session_timeout)),
    one("ssl_crl", file!(crl)),
    flag("ssl_stapling", set!(set_flag, stapling)),
    one("ssl_stapling_file", set!(set_string, stapling_file)),
    one("ssl_stapling_responder", set!(set_string, stapling_responder)),
    flag("ssl_stapling_verify", set!(set_flag, stapling_verify)),
    flag("ssl_early_data", set!(set_flag, early_data)),
    one("ssl_key_log", set!(set_string, key_log)),
    Rule {
        name: "ssl_conf_command",
        contexts: HTTP_SERVER,
        args: Arity::Words(2, 2),
        apply: |scope, directive| context::push_command(scope.cycle, &mut scope.srv.ssl.commands, directive),
    },
    flag("ssl_reject_handshake", set!(set_flag, reject_handshake)),
];

fn path_of(scope: &Scope<'_>, directive: &Directive) -> Option<PathBuf> {
    directive.arg(0).map(|word| scope.cycle.full_conf_path(&word.text))
}

fn protocols(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    const NAMES: &[(&str, u32)] =
        &[("SSLv2", 0x2), ("SSLv3", 0x4), ("TLSv1", 0x8), ("TLSv1.1", 0x10), ("TLSv1.2", 0x20), ("TLSv1.3", 0x40)];
    for warning in value::set_bits(&mut scope.srv.ssl.protocols, directive, NAMES)? {
        scope.cycle.notice(Level::Warn, warning);
    }
    Ok(())
}

/// `off` is the only value that makes a difference: other caches are the worker's own.
fn session_cache(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let mut on = None;
    for word in &directive.args {
        if let Some(zone) = word.text.strip_prefix(b"shared:") {
            let name = zone.split(|byte| *byte == b':').next().unwrap_or_default();
            scope.declare_zone(directive, "ssl_session_cache", name)?;
        }
        on = match &*word.text {
            b"off" => Some(false),
            b"none" => None,
            text if text == b"builtin" || text.starts_with(b"builtin:") || text.starts_with(b"shared:") => Some(true),
            _ => {
                let message = format!("invalid session cache \"{}\"", word.lossy());
                return Err(directive.error_at(word, "invalid_value", message));
            }
        };
    }
    scope.srv.ssl.session_cache = on;
    Ok(())
}

impl Merge for SrvConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        macro_rules! inherit {
            ($($field:ident),+ $(,)?) => {
                $(if self.$field.is_none() { self.$field.clone_from(&outer.$field); })+
            };
        }
        inherit!(
            certificates,
            keys,
            protocols,
            ciphers,
            prefer_server_ciphers,
            verify_client,
            verify_depth,
            client_certificate,
            trusted_certificate,
            crl,
            dhparam,
            password_file,
            ecdh_curve,
            session_cache,
            session_tickets,
            session_timeout,
            buffer_size,
            reject_handshake,
            early_data,
            commands,
        );
        Ok(())
    }
}

impl SrvConf {
    /// The context, for servers that speak TLS.
    pub fn context(&self) -> Option<&SslContext> {
        self.context.get()
    }

    /// `ssl_reject_handshake`
    pub fn rejects_handshake(&self) -> bool {
        self.reject_handshake == Some(true)
    }

    /// Makes the context of a server that has a certificate, or that needs none to refuse.
    pub(crate) fn build(&self) -> Result<(), String> {
        let certificates = self.certificates.clone().unwrap_or_default();
        let keys = self.keys.clone().unwrap_or_default();
        if certificates.is_empty() && !self.rejects_handshake() {
            return Ok(());
        }
        if let Some(certificate) = certificates.get(keys.len()) {
            let path = certificate.display();
            return Err(format!("no \"ssl_certificate_key\" is defined for certificate \"{path}\""));
        }
        let passwords = match &self.password_file {
            None => Vec::new(),
            Some(file) => {
                let text =
                    std::fs::read(file).map_err(|error| format!("open() \"{}\" failed ({error})", file.display()))?;
                text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
            }
        };
        let settings = Settings {
            protocols: self.protocols.unwrap_or(0),
            ciphers: Some(
                self.ciphers
                    .as_ref()
                    .map_or("HIGH:!aNULL:!MD5".into(), |text| String::from_utf8_lossy(text).into_owned()),
            ),
            certificates: certificates.into_iter().zip(keys).collect(),
            passwords,
            trusted: self.client_certificate.iter().chain(&self.trusted_certificate).cloned().collect(),
            crl: self.crl.clone(),
            verify_depth: self.verify_depth.unwrap_or(1),
            commands: self.commands.clone().unwrap_or_default(),
        };
        let mut builder = settings.builder()?;
        let verify = self.verify_client.unwrap_or(VerifyClient::Off);
        if verify != VerifyClient::Off {
            if verify != VerifyClient::OptionalNoCa && settings.trusted.is_empty() {
                return Err("no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client".to_owned());
            }
            context::verify_later(&mut builder);
        }
        if let Some(file) = &self.client_certificate {
            context::announce_authorities(&mut builder, file)?;
        }
        if self.prefer_server_ciphers == Some(true) {
            builder.set_options(openssl::ssl::SslOptions::CIPHER_SERVER_PREFERENCE);
        }
        if let Some(curves) = self.ecdh_curve.as_deref().filter(|curves| *curves != b"auto") {
            let curves = String::from_utf8_lossy(curves);
            builder.set_groups_list(&curves).map_err(|_| format!("SSL_CTX_set1_curves_list(\"{curves}\") failed"))?;
        }
        let cache = match self.session_cache {
            Some(false) => SslSessionCacheMode::OFF,
            Some(true) => SslSessionCacheMode::SERVER,
            None => SslSessionCacheMode::SERVER | SslSessionCacheMode::NO_INTERNAL,
        };
        let timeout = self.session_timeout.map_or(300, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        server::set_sessions(&mut builder, self.session_tickets.unwrap_or(true), cache, timeout);
        settings.run_commands(&mut builder)?;
        server::install(&mut builder);
        // What a script stapled is sent to clients that ask.
        builder.set_status_callback(|_| Ok(true)).map_err(|_| "SSL_CTX_set_tlsext_status_cb() failed".to_owned())?;
        // The server is built once.
        let _ = self.context.set(builder.build());
        Ok(())
    }

    /// Whether clients are asked for a certificate, which then belongs to this server alone.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.verify_client.unwrap_or(VerifyClient::Off) != VerifyClient::Off
    }

    /// Why a request whose client must show a certificate may not go on: a status, and the words for the log.
    pub(crate) fn refuses(&self, ssl: &SslRef) -> Option<(u16, String)> {
        let verify = self.verify_client.unwrap_or(VerifyClient::Off);
        if verify == VerifyClient::Off {
            return None;
        }
        let result = ssl.verify_result();
        if result != X509VerifyResult::OK
            && (verify != VerifyClient::OptionalNoCa || !is_about_authority(result.as_raw()))
        {
            let text = format!("client SSL certificate verify error: ({}:{})", result.as_raw(), result.error_string());
            return Some((495, text));
        }
        if verify == VerifyClient::On && ssl.peer_certificate().is_none() {
            return Some((496, "client sent no required SSL certificate".to_owned()));
        }
        None
    }
}

/// Whether a certificate only lacks an authority that we know.
fn is_about_authority(code: i32) -> bool {
    matches!(code, 2 | 18 | 19 | 20 | 21)
}

/// The TLS connection of a request.
fn ssl(r: &Request) -> Option<&SslRef> {
    r.conn().tls_connection().tls().map(|(tls, _)| tls.ssl())
}

const fn once(name: &'static str, get: fn(&Request, usize) -> Option<Bytes>) -> VariableDef {
    VariableDef::new(name, get)
}

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    once("ssl_protocol", |r, _| Some(text(ssl(r)?.version_str()))),
    once("ssl_cipher", |r, _| Some(text(ssl(r)?.current_cipher()?.name()))),
    once("ssl_ciphers", |r, _| Some(text(&sys_offers::offered_ciphers(ssl(r)?)?.join(":")))),
    once("ssl_curve", |r, _| Some(text(&sys_offers::negotiated_group(ssl(r)?)?))),
    once("ssl_curves", |r, _| Some(text(&sys_offers::offered_groups(ssl(r)?)?.join(":")))),
    once("ssl_session_id", |r, _| {
        let session = ssl(r)?.session()?;
        Some(hex(session.id()))
    }),
    once("ssl_session_reused", |r, _| Some(text(if ssl(r)?.session_reused() { "r" } else { "." }))),
    once("ssl_early_data", |_, _| None),
    once("ssl_server_name", |r, _| Some(text(ssl(r)?.servername(openssl::ssl::NameType::HOST_NAME)?))),
    once("ssl_alpn_protocol", |r, _| Some(Bytes::copy_from_slice(ssl(r)?.selected_alpn_protocol()?))),
    once("ssl_client_raw_cert", |r, _| pem(r)),
    once("ssl_client_cert", |r, _| {
        let pem = pem(r)?;
        let lines: Vec<&[u8]> = pem.trim_ascii_end().split(|byte| *byte == b'\n').collect();
        Some(lines.join(&b"\n\t"[..]).into())
    }),
    once("ssl_client_escaped_cert", |r, _| {
        let pem = pem(r)?;
        let escape = |byte: &u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => vec![*byte],
            byte => format!("%{byte:02X}").into_bytes(),
        };
        Some(pem.iter().flat_map(escape).collect::<Vec<u8>>().into())
    }),
    once("ssl_client_s_dn", |r, _| Some(rfc2253(certificate(r)?.subject_name()))),
    once("ssl_client_i_dn", |r, _| Some(rfc2253(certificate(r)?.issuer_name()))),
    once("ssl_client_s_dn_legacy", |r, _| Some(one_line(certificate(r)?.subject_name()))),
    once("ssl_client_i_dn_legacy", |r, _| Some(one_line(certificate(r)?.issuer_name()))),
    once("ssl_client_serial", |r, _| {
        let number = certificate(r)?.serial_number().to_bn().ok()?.to_hex_str().ok()?;
        Some(text(&number))
    }),
    once("ssl_client_fingerprint", |r, _| Some(hex(&certificate(r)?.digest(MessageDigest::sha1()).ok()?))),
    once("ssl_client_verify", |r, _| {
        let ssl = ssl(r)?;
        Some(match (ssl.peer_certificate(), ssl.verify_result()) {
            (None, _) => Bytes::from_static(b"NONE"),
            (_, X509VerifyResult::OK) => Bytes::from_static(b"SUCCESS"),
            (_, result) => text(&format!("FAILED:{}", result.error_string())),
        })
    }),
    once("ssl_client_v_start", |r, _| Some(text(&certificate(r)?.not_before().to_string()))),
    once("ssl_client_v_end", |r, _| Some(text(&certificate(r)?.not_after().to_string()))),
    once("ssl_client_v_remain", |r, _| {
        let now = openssl::asn1::Asn1Time::days_from_now(0).ok()?;
        let rest = now.diff(certificate(r)?.not_after()).ok()?;
        Some(text(&rest.days.max(0).to_string()))
    }),
];

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn hex(bytes: &[u8]) -> Bytes {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect::<Vec<u8>>().into()
}

fn certificate(r: &Request) -> Option<X509> {
    ssl(r)?.peer_certificate()
}

/// The client's certificate as PEM.
fn pem(r: &Request) -> Option<Bytes> {
    Some(certificate(r)?.to_pem().ok()?.into())
}

fn short(entry: &openssl::x509::X509NameEntryRef) -> String {
    let nid = entry.object().nid();
    if nid == Nid::UNDEF { entry.object().to_string() } else { nid.short_name().unwrap_or("UNDEF").to_owned() }
}

/// `CN=…,O=…`: last part first, with escapes.
fn rfc2253(name: &X509NameRef) -> Bytes {
    let mut parts = Vec::new();
    for entry in name.entries() {
        let mut part = format!("{}=", short(entry)).into_bytes();
        for &byte in entry.data().as_slice() {
            match byte {
                b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => part.extend_from_slice(&[b'\\', byte]),
                0x20..=0x7e => part.push(byte),
                byte => part.extend_from_slice(format!("\\{byte:02X}").as_bytes()),
            }
        }
        parts.push(part);
    }
    parts.reverse();
    parts.join(&b","[..]).into()
}

/// `/O=…/CN=…`
fn one_line(name: &X509NameRef) -> Bytes {
    let mut out = Vec::new();
    for entry in name.entries() {
        out.extend_from_slice(format!("/{}=", short(entry)).as_bytes());
        out.extend_from_slice(entry.data().as_slice());
    }
    out.into()
}
