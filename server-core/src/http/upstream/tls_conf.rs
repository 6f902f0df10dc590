//! TLS to servers behind us: its settings, and the context that they make.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use openssl::ssl::SslContext;

use crate::conf::value::KeyValues;
use crate::http::complex_value::ComplexValue;
use crate::http::modules::lua::LocConf as LuaConf;
use crate::http::setting::Setting;
use crate::tls::context::{self, Settings};
use crate::tls::upstream;

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr;)+) => {
        /// Settings of `ssl_*`; the names are those of the directives.
        #[derive(Default)]
        pub(crate) struct TlsConf {
            $($(#[$doc])* pub(crate) $name: Setting<$ty>,)+
            /// What they make, where it is needed.
            context: OnceCell<SslContext>,
        }

        impl TlsConf {
            /// Takes over what is unset here.
            pub(crate) fn merge(&mut self, outer: &Self) {
                $(self.$name.merge(&outer.$name, || $default);)+
            }
        }
    };
}

settings! {
    session_reuse: bool = true;
    protocols: u32 = 0;
    ciphers: Box<[u8]> = b"DEFAULT"[..].into();
    /// The name that the server's certificate must be for, and that it is told; the host of the URL by default.
    name: Option<Rc<ComplexValue>> = None;
    /// Whether the server is told a name.
    server_name: bool = false;
    verify: bool = false;
    verify_depth: u32 = 1;
    trusted_certificate: Option<PathBuf> = None;
    crl: Option<PathBuf> = None;
    /// A file relative to the configuration's folder, or `data:` and the certificate itself.
    certificate: Option<Rc<ComplexValue>> = None;
    certificate_key: Option<Rc<ComplexValue>> = None;
    password_file: Option<PathBuf> = None;
    commands: KeyValues = KeyValues::new();
    key_log: Option<PathBuf> = None;
    /// The configuration's folder.
    conf_prefix: PathBuf = PathBuf::new();
}

impl TlsConf {
    /// Makes the context, with `prefix` as the word before the directives' names in messages.
    pub(crate) fn build(&self, prefix: &str, lua: &LuaConf) -> Result<(), String> {
        let certificate = self.constant(self.certificate.as_ref());
        let key = self.constant(self.certificate_key.as_ref());
        if let (Some(certificate), None) = (&*self.certificate, &*self.certificate_key) {
            let path = String::from_utf8_lossy(certificate.source()).into_owned();
            return Err(format!("no \"{prefix}_ssl_certificate_key\" is defined for certificate \"{path}\""));
        }
        if *self.verify && self.trusted_certificate.is_none() {
            return Err(format!("no {prefix}_ssl_trusted_certificate for {prefix}_ssl_verify"));
        }
        let settings = Settings {
            protocols: *self.protocols,
            ciphers: Some(String::from_utf8_lossy(&self.ciphers).into_owned()),
            certificates: certificate.zip(key).into_iter().collect(),
            passwords: self.passwords()?,
            trusted: if *self.verify { self.trusted_certificate.iter().cloned().collect() } else { Vec::new() },
            crl: if *self.verify { (*self.crl).clone() } else { None },
            verify_depth: *self.verify_depth,
            commands: (*self.commands).clone(),
        };
        let mut builder = settings.builder()?;
        settings.run_commands(&mut builder)?;
        if let Some(file) = &*self.key_log {
            context::log_keys(&mut builder, file)?;
        }
        let scripts = upstream::Scripts {
            certificate: lua.proxy_ssl_certificate.is_some(),
            verify: lua.proxy_ssl_verify.is_some(),
        };
        upstream::install(&mut builder, scripts);
        // A location is built once.
        let _ = self.context.set(builder.build());
        Ok(())
    }

    /// The context, where `https` is possible.
    pub(crate) fn context(&self) -> Option<&SslContext> {
        self.context.get()
    }

    /// Certificate and key when variables name them, as their text.
    pub(crate) fn variable_certificate(&self) -> Option<(&Rc<ComplexValue>, &Rc<ComplexValue>)> {
        let pair = self.certificate.as_ref().zip(self.certificate_key.as_ref())?;
        (pair.0.constant().is_none() || pair.1.constant().is_none()).then_some(pair)
    }

    /// The passwords of `password_file`.
    pub(crate) fn passwords(&self) -> Result<Vec<Vec<u8>>, String> {
        let Some(file) = &*self.password_file else { return Ok(Vec::new()) };
        let text = std::fs::read(file).map_err(|error| format!("open() \"{}\" failed ({error})", file.display()))?;
        Ok(text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// A file beside the configuration.
    pub(crate) fn path(&self, name: &[u8]) -> PathBuf {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
        self.conf_prefix.join(Path::new(name))
    }

    fn constant(&self, value: Option<&Rc<ComplexValue>>) -> Option<PathBuf> {
        if self.variable_certificate().is_some() {
            return None;
        }
        let text: &Bytes = value?.constant()?;
        (!text.is_empty()).then(|| self.path(text))
    }
}
