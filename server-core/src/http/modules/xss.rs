//! `xss-nginx-module`: answers in JSON become calls of a function that the client names (JSONP).

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::content::MediaTypes;
use crate::conf::value::{duplicate, set_flag};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::Merge;
use crate::http::h1::uri;
use crate::http::header::HeaderId;
use crate::http::method::Method;
use crate::http::output::{self, BodyNext, Buf, Chain, HeaderNext};
use crate::http::request::Request;
use crate::log::Level;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    on: Option<bool>,
    check_status: Option<bool>,
    override_status: Option<bool>,
    argument: Option<Bytes>,
    output_type: Option<Bytes>,
    types: MediaTypes,
}

impl LocConf {
    /// Whether responses of the location may become scripts.
    pub(crate) fn is_on(&self) -> bool {
        self.on == Some(true)
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        self.check_status = self.check_status.or(outer.check_status);
        self.override_status = self.override_status.or(outer.override_status);
        for (own, outer) in [(&mut self.argument, &outer.argument), (&mut self.output_type, &outer.output_type)] {
            if own.is_none() {
                own.clone_from(outer);
            }
        }
        self.types.merge(&outer.types);
        Ok(())
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION_IF;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "xss_get",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.xss.on, directive),
    },
    Rule {
        name: "xss_check_status",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.xss.check_status, directive),
    },
    Rule {
        name: "xss_override_status",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.xss.override_status, directive),
    },
    Rule {
        name: "xss_callback_arg",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set(&mut scope.loc.xss.argument, directive),
    },
    Rule {
        name: "xss_output_type",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set(&mut scope.loc.xss.output_type, directive),
    },
    Rule {
        name: "xss_input_types",
        contexts: USUAL,
        args: Arity::Words(1, Arity::MANY),
        apply: |scope, directive| scope.loc.xss.types.add(directive, &[]),
    },
];

fn set(slot: &mut Option<Bytes>, directive: &Directive) -> Result<(), Diagnostic> {
    let word = directive.arg(0).map(|word| Bytes::copy_from_slice(&word.text));
    if std::mem::replace(slot, word).is_some() { Err(duplicate(directive)) } else { Ok(()) }
}

/// Present in responses that are wrapped.
struct State;

/// Decides whether the response is wrapped; then its length is unknown.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let conf = &r.loc().xss;
    let out = &r.headers_out;
    let fits = |status| matches!(status, 200 | 201) || !conf.check_status.unwrap_or(true);
    if !conf.on.unwrap_or(false) || !r.is_main() || r.method.get() != Method::GET || !fits(out.status.get()) {
        return next.run(r);
    }
    let Some(argument) = conf.argument.as_ref().filter(|argument| !argument.is_empty()) else {
        r.log(Level::Info, format_args!("xss: xss_get is enabled but xss_callback_arg is not set"));
        return next.run(r);
    };
    if !conf.types.accept(r, &["application/json"]) {
        return next.run(r);
    }
    let name = [b"arg_", &argument[..]].concat();
    let Some(callback) = r.variable_named(&name.to_ascii_lowercase()).filter(|callback| !callback.is_empty()) else {
        return next.run(r);
    };
    let callback = uri::unescape(&callback);
    if !is_callback(&callback) {
        r.log_bytes(Level::Error, &[b"xss: bad callback argument: \"", &callback, b"\""]);
        return next.run(r);
    }
    r.set_ctx(Rc::new(State));
    let kind = conf.output_type.clone().unwrap_or_else(|| Bytes::from_static(b"application/x-javascript"));
    out.content_type.set(kind);
    out.clear_content_length();
    out.clear_accept_ranges();
    out.list.borrow_mut().remove_known(HeaderId::Etag);
    if conf.override_status.unwrap_or(true) && out.status.get() >= 300 {
        out.status.set(200);
    }
    let code = next.run(r);
    if code == Code::ERROR || r.header_only.get() {
        return code;
    }
    // At once: what subrequests say stands inside the call.
    match output::write(r, output::chain(Buf::bytes([&callback[..], b"("].concat()))) {
        Code::ERROR => Code::ERROR,
        _ => code,
    }
}

/// Puts the call around the body.
pub(crate) fn body_filter(r: &Rc<Request>, mut chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() || r.header_only.get() {
        return next.run(r, chain);
    }
    if r.ctx::<State>().is_none() {
        return next.run(r, chain);
    }
    if let Some(at) = chain.iter().position(|buf| buf.last) {
        let marks = &mut chain[at];
        let end = Buf { last: true, last_in_chain: true, ..Buf::bytes(Bytes::from_static(b");")) };
        (marks.last, marks.last_in_chain, marks.sync) = (false, false, marks.is_empty());
        chain.insert(at + 1, end);
    }
    next.run(r, chain)
}

/// Names with dots, and with indexes in brackets: `a.b[0]['c']`.
fn is_callback(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        let length = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
        if length == 0 || rest[0].is_ascii_digit() {
            return false;
        }
        rest = &rest[length..];
        while let Some(inside) = rest.strip_prefix(b"[") {
            let Some(end) = memchr::memchr(b']', inside) else { return false };
            if !is_index(&inside[..end]) {
                return false;
            }
            rest = &inside[end + 1..];
        }
        match rest.split_first() {
            None => return true,
            Some((b'.', behind)) => rest = behind,
            Some(_) => return false,
        }
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

/// A number, or a quoted string without quotes and backslashes inside.
fn is_index(text: &[u8]) -> bool {
    let plain = |text: &[u8]| text.iter().all(|byte| is_name(*byte) || matches!(byte, b' ' | b'-' | b'.'));
    match text {
        [b'\'', inside @ .., b'\''] | [b'"', inside @ .., b'"'] => plain(inside),
        digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::is_callback;

    #[test]
    fn only_names_are_called() {
        for good in ["f", "a.b", "$_[0].x['key']", "jQuery123_4"] {
            assert!(is_callback(good.as_bytes()), "{good}");
        }
        for bad in ["", "1a", "a b", "a(", "a.", "a[", "a[x]", "alert(1);//", "a['\\']"] {
            assert!(!is_callback(bad.as_bytes()), "{bad}");
        }
    }
}
