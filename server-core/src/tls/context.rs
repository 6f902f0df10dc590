//! From settings to an `SSL_CTX`.

use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslFiletype, SslMethod, SslOptions, SslVerifyMode};
use openssl::x509::X509Name;
use rsty_diag::Diagnostic;

use super::sys;
use crate::conf::Directive;
use crate::conf::value::{self, KeyValues};
use crate::cycle::CycleConf;

/// `ssl_protocols`, as the bits of the directive.
pub const DEFAULT_PROTOCOLS: u32 = 0x20 | 0x40;

/// What both sides of TLS are configured with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Versions, as bits; 0 stands for the default.
    pub protocols: u32,
    /// `ssl_ciphers`
    pub ciphers: Option<String>,
    /// Certificates with their keys.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Passwords of keys, one of which fits.
    pub passwords: Vec<Vec<u8>>,
    /// Whom to trust.
    pub trusted: Vec<PathBuf>,
    /// Revocation lists.
    pub crl: Option<PathBuf>,
    /// How many certificates a chain may have above the peer's.
    pub verify_depth: u32,
    /// `ssl_conf_command`
    pub commands: KeyValues,
}

/// An error in nginx's words.
fn failed(what: impl std::fmt::Display) -> impl FnOnce(ErrorStack) -> String {
    move |stack| format!("{what}{}", sys::describe(&stack))
}

impl Settings {
    /// A context with everything that is common to both sides.
    pub fn builder(&self) -> Result<SslContextBuilder, String> {
        let mut builder = SslContextBuilder::new(SslMethod::tls()).map_err(failed("SSL_CTX_new() failed"))?;
        sys::set_write_modes(&mut builder);
        // A record comes with one system call and not with one each for its head and the rest.
        builder.set_read_ahead(true);
        builder.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION | SslOptions::SINGLE_DH_USE);
        // An abrupt end of the peer is an end, as it is for plain sockets.
        builder.set_options(SslOptions::IGNORE_UNEXPECTED_EOF);
        self.set_versions(&mut builder);
        for (certificate, key) in &self.certificates {
            self.add_certificate(&mut builder, certificate, key)?;
        }
        if let Some(ciphers) = &self.ciphers {
            builder
                .set_cipher_list(ciphers)
                .map_err(failed(format_args!("SSL_CTX_set_cipher_list(\"{ciphers}\") failed")))?;
        }
        for file in &self.trusted {
            let load = builder.load_verify_locations(Some(file), None);
            load.map_err(failed(format_args!("SSL_CTX_load_verify_locations(\"{}\") failed", file.display())))?;
        }
        if let Some(file) = &self.crl {
            add_crl(&mut builder, file)?;
        }
        builder.set_verify_depth(self.verify_depth);
        Ok(builder)
    }

    /// Runs the commands of `ssl_conf_command`, which have the last word about everything else.
    pub fn run_commands(&self, builder: &mut SslContextBuilder) -> Result<(), String> {
        self.commands.iter().try_for_each(|(name, value)| command(builder, name, value))
    }

    fn set_versions(&self, builder: &mut SslContextBuilder) {
        let bits = if self.protocols == 0 { DEFAULT_PROTOCOLS } else { self.protocols };
        let versions = [
            (0x4, SslOptions::NO_SSLV3),
            (0x8, SslOptions::NO_TLSV1),
            (0x10, SslOptions::NO_TLSV1_1),
            (0x20, SslOptions::NO_TLSV1_2),
            (0x40, SslOptions::NO_TLSV1_3),
        ];
        // The options say which versions there are not; limits of the library's configuration do not count.
        let _ = builder.set_min_proto_version(None);
        let _ = builder.set_max_proto_version(None);
        for (bit, option) in versions {
            if bits & bit == 0 {
                builder.set_options(option);
            } else {
                builder.clear_options(option);
            }
        }
    }

    fn add_certificate(&self, builder: &mut SslContextBuilder, certificate: &Path, key: &Path) -> Result<(), String> {
        if let Err(stack) = builder.set_certificate_chain_file(certificate) {
            let call = if certificate.exists() { "PEM_read_bio_X509_AUX()" } else { "BIO_new_file()" };
            let reason = sys::describe(&stack);
            return Err(format!("cannot load certificate \"{}\": {call} failed{reason}", certificate.display()));
        }
        let load = if self.passwords.is_empty() {
            builder.set_private_key_file(key, SslFiletype::PEM)
        } else {
            self.decrypt(builder, key)
        };
        load.map_err(|stack| {
            let call = if key.exists() { "PEM_read_bio_PrivateKey()" } else { "BIO_new_file()" };
            format!("cannot load certificate key \"{}\": {call} failed{}", key.display(), sys::describe(&stack))
        })
    }

    fn decrypt(&self, builder: &mut SslContextBuilder, key: &Path) -> Result<(), ErrorStack> {
        let pem = std::fs::read(key).unwrap_or_default();
        let mut result = Err(ErrorStack::get());
        for password in &self.passwords {
            match openssl::pkey::PKey::private_key_from_pem_passphrase(&pem, password) {
                Ok(key) => return builder.set_private_key(&key),
                Err(stack) => result = Err(stack),
            }
        }
        result
    }
}

fn add_crl(builder: &mut SslContextBuilder, file: &Path) -> Result<(), String> {
    let error = |stack| format!("X509_LOOKUP_load_file(\"{}\") failed{}", file.display(), sys::describe(&stack));
    sys::load_crl(builder, &c_path(file)).map_err(error)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn command(builder: &mut SslContextBuilder, name: &[u8], value: &[u8]) -> Result<(), String> {
    let (c_name, c_value) = (CString::new(name).unwrap_or_default(), CString::new(value).unwrap_or_default());
    sys::conf_command(builder, &c_name, &c_value).map_err(|problem| {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let reason = sys::describe(&ErrorStack::get());
        match problem {
            "SSL_CONF_cmd" => format!("SSL_CONF_cmd(\"{name}\", \"{value}\") failed{reason}"),
            _ => format!("{problem}{reason}"),
        }
    })
}

/// The names that are sent to clients as those whose certificates are wanted.
pub(crate) fn announce_authorities(builder: &mut SslContextBuilder, file: &Path) -> Result<(), String> {
    let load = X509Name::load_client_ca_file(file);
    let names = load.map_err(failed(format_args!("SSL_load_client_CA_file(\"{}\") failed", file.display())))?;
    builder.set_client_ca_list(names);
    Ok(())
}

/// Accepts whatever certificate; who cares looks at the result later.
pub(crate) fn verify_later(builder: &mut SslContextBuilder) {
    builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
}

/// Appends the secrets of each connection to a file.
pub(crate) fn log_keys(builder: &mut SslContextBuilder, file: &Path) -> Result<(), String> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    let out = opened.map_err(|error| format!("open() \"{}\" failed ({error})", file.display()))?;
    builder.set_keylog_callback(move |_, line| {
        // Losing a line loses only the view of a debugger.
        let _ = (&out).write_all(format!("{line}\n").as_bytes());
    });
    Ok(())
}

/// `ssl_conf_command NAME VALUE`: files are looked for beside the configuration.
pub(crate) fn push_command(
    cycle: &CycleConf,
    slot: &mut Option<KeyValues>,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    /// Commands whose value is a file or a folder.
    const PATHS: [&[u8]; 12] = [
        b"Certificate",
        b"ChainCAFile",
        b"ChainCAPath",
        b"ClientCAFile",
        b"ClientCAPath",
        b"DHParameters",
        b"PrivateKey",
        b"RequestCAFile",
        b"RequestCAPath",
        b"ServerInfoFile",
        b"VerifyCAFile",
        b"VerifyCAPath",
    ];
    value::push_key_value(slot, directive)?;
    if let Some((name, value)) = slot.as_mut().and_then(|list| list.last_mut())
        && PATHS.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        *value = cycle.full_conf_path(value).into_os_string().into_vec().into();
    }
    Ok(())
}
