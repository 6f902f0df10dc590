//! The commands of memcached.

use std::rc::Rc;

use bytes::Bytes;

use crate::conf::value::number;
use crate::http::code::Code;
use crate::http::method::Method;
use crate::http::modules::memcached::escape;
use crate::http::output::Data;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::http::upstream::Outgoing;
use crate::log::Level;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Append,
    Decr,
    Delete,
    FlushAll,
    Get,
    Incr,
    Prepend,
    Replace,
    Set,
    Stats,
    Version,
}

impl Command {
    const NAMES: [(Self, &'static str); 12] = [
        (Self::Add, "add"),
        (Self::Append, "append"),
        (Self::Decr, "decr"),
        (Self::Delete, "delete"),
        (Self::FlushAll, "flush_all"),
        (Self::Get, "get"),
        (Self::Incr, "incr"),
        (Self::Prepend, "prepend"),
        (Self::Replace, "replace"),
        (Self::Set, "set"),
        (Self::Stats, "stats"),
        (Self::Version, "version"),
    ];

    /// The command of a name.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(command, _)| *command)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(command, _)| *command == self).map_or("", |(_, name)| name)
    }

    /// Whether it sends a value to be kept.
    pub(super) const fn stores(self) -> bool {
        matches!(self, Self::Add | Self::Append | Self::Prepend | Self::Replace | Self::Set)
    }

    /// The command that a method stands for.
    fn of_method(method: Method) -> Option<Self> {
        match method {
            Method::GET | Method::HEAD => Some(Self::Get),
            Method::POST => Some(Self::Add),
            Method::PUT => Some(Self::Set),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }
}

/// A command with its arguments.
pub(super) struct Call {
    pub(super) command: Command,
    /// The key as it is sent; may be empty.
    pub(super) key: Bytes,
    /// `None`: the request's body.
    value: Option<Bytes>,
    flags: Bytes,
    exptime: Bytes,
}

impl Call {
    /// What a request wants. An error is logged.
    pub(super) fn of(r: &Rc<Request>) -> Result<Self, Code> {
        let conf = &r.loc().memc;
        let indexes = conf.indexes.ok_or(Code::INTERNAL_SERVER_ERROR)?;
        let name = r.variable(indexes.cmd).unwrap_or_default();
        let command = if name.is_empty() {
            let command = Command::of_method(r.method.get());
            command.ok_or_else(|| {
                let method = r.method_name.get();
                r.log_bytes(
                    Level::Error,
                    &[b"ngx_memc: $memc_cmd variable not found for HTTP ", &method, b" requests"],
                );
                Code::BAD_REQUEST
            })?
        } else {
            Command::named(&name).ok_or_else(|| {
                r.log_bytes(Level::Error, &[b"ngx_memc: unknown $memc_cmd \"", &name, b"\""]);
                Code::BAD_REQUEST
            })?
        };
        if conf.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&command)) {
            let name = command.name();
            r.log(Level::Error, format_args!("ngx_memc: memcached command \"{name}\" not allowed"));
            return Err(Code::FORBIDDEN);
        }
        let number_of = |index, name: &str, wanted: bool| {
            let value = r.variable(index).filter(|_| wanted).unwrap_or_default();
            if !value.is_empty() && number(&value).and_then(|value| u32::try_from(value).ok()).is_none() {
                let text = format!("variable \"${name}\" takes invalid value: ");
                r.log_bytes(Level::Error, &[text.as_bytes(), &value]);
                return Err(Code::BAD_REQUEST);
            }
            Ok(value)
        };
        let expires = command.stores() || matches!(command, Command::FlushAll | Command::Delete);
        let exptime = number_of(indexes.exptime, "memc_exptime", expires)?;
        let flags = number_of(indexes.flags, "memc_flags", command.stores())?;
        let value = r.variable(indexes.value);
        if matches!(command, Command::Incr | Command::Decr) {
            let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else {
                let name = command.name();
                r.log(Level::Error, format_args!("the \"$memc_value\" variable is required for command \"{name}\""));
                return Err(Code::BAD_REQUEST);
            };
            if !value.iter().all(u8::is_ascii_digit) || value.len() > 20 {
                r.log_bytes(Level::Error, &[b"variable \"$memc_value\" is invalid for incr/decr: ", value]);
                return Err(Code::BAD_REQUEST);
            }
        }
        if command.stores() {
            // The variables say what is sent.
            for (index, value) in [(indexes.exptime, &exptime), (indexes.flags, &flags)] {
                if value.is_empty() {
                    r.set_variable(index, Some(Bytes::from_static(b"0")));
                }
            }
        }
        if name.is_empty() {
            r.set_variable(indexes.cmd, Some(Bytes::from_static(command.name().as_bytes())));
        }
        let key = Bytes::from(escape(&r.variable(indexes.key).unwrap_or_default()));
        Ok(Self { command, key, value, flags, exptime })
    }

    /// Writes the command. An error is logged.
    pub(super) fn write(&self, r: &Rc<Request>) -> Result<Outgoing, Code> {
        let name = self.command.name().as_bytes();
        let needs_key = !matches!(self.command, Command::FlushAll | Command::Stats | Command::Version);
        if needs_key && self.key.is_empty() {
            r.log(Level::Error, format_args!("the \"$memc_key\" variable is not set"));
            return Err(Code::INTERNAL_SERVER_ERROR);
        }
        debug!(r, "http memcached request: \"{}\"", String::from_utf8_lossy(&self.key));
        let optional = |value: &Bytes| if value.is_empty() { Vec::new() } else { [b" ", &value[..]].concat() };
        let line = match self.command {
            Command::Get => [b"get ", &self.key[..], b"\r\n"].concat(),
            Command::Stats | Command::Version => [name, b"\r\n"].concat(),
            Command::FlushAll => [name, &optional(&self.exptime), b"\r\n"].concat(),
            Command::Delete => [name, b" ", &self.key, &optional(&self.exptime), b"\r\n"].concat(),
            Command::Incr | Command::Decr => {
                let value = self.value.clone().unwrap_or_default();
                [name, b" ", &self.key, b" ", &value, b"\r\n"].concat()
            }
            _ => return self.write_value(r),
        };
        Ok(Outgoing::of(line))
    }

    fn write_value(&self, r: &Rc<Request>) -> Result<Outgoing, Code> {
        let mut body = Outgoing::default();
        let length = match &self.value {
            Some(value) => {
                body.pieces.push(Data::Bytes(value.clone()));
                value.len() as u64
            }
            None => {
                body.push_body(r);
                let size = |piece: &Data| match piece {
                    Data::None => 0,
                    Data::Bytes(bytes) => bytes.len() as u64,
                    Data::File { start, end, .. } => end - start,
                };
                body.pieces.iter().map(size).sum()
            }
        };
        if body.pieces.is_empty() {
            let message = "neither the \"$memc_value\" variable nor the request body is available";
            r.log(Level::Error, format_args!("{message}"));
            return Err(Code::INTERNAL_SERVER_ERROR);
        }
        let or_zero = |value: &Bytes| if value.is_empty() { Bytes::from_static(b"0") } else { value.clone() };
        let (flags, exptime, length) = (or_zero(&self.flags), or_zero(&self.exptime), length.to_string());
        let name = self.command.name().as_bytes();
        let words = [name, &self.key, &flags, &exptime, length.as_bytes()];
        let mut outgoing = Outgoing::of([&words.join(&b" "[..])[..], b"\r\n"].concat());
        outgoing
            .pieces
            .extend(body.pieces.into_iter().filter(|piece| !matches!(piece, Data::Bytes(b) if b.is_empty())));
        outgoing.pieces.push(Data::Bytes(Bytes::from_static(b"\r\n")));
        Ok(outgoing)
    }
}
