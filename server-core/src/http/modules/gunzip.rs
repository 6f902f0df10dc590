//! `ngx_http_gunzip_filter_module`: unpacks responses for clients that don't take gzip.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use flate2::write::MultiGzDecoder;
use rsty_diag::Diagnostic;

use super::content::for_each_piece;
use super::gzip;
use crate::conf::value::set_flag;
use crate::conf::{Arity, Contexts, Rule};
use crate::http::code::Code;
use crate::http::conf::Merge;
use crate::http::header::HeaderId;
use crate::http::output::{BodyNext, Buf, Chain, HeaderNext};
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
}

impl LocConf {
    /// `gunzip on`
    pub(crate) fn is_on(&self) -> bool {
        self.on.unwrap_or(false)
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.on = self.on.or(outer.on);
        Ok(())
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "gunzip",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.gunzip.on, directive),
    },
    Rule {
        name: "gunzip_buffers",
        contexts: Contexts::HTTP_SERVER_LOCATION,
        args: Arity::Words(2, 2),
        // The decompressor allocates what it needs.
        apply: |_, _| Ok(()),
    },
];

/// The decompressor of a response.
struct State(RefCell<MultiGzDecoder<Vec<u8>>>);

/// Decides whether the response is unpacked.
pub(crate) fn header_filter(r: &Rc<Request>, next: HeaderNext) -> Code {
    let out = &r.headers_out;
    if !r.loc().gunzip.is_on()
        || !out.value(HeaderId::ContentEncoding).is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"gzip"))
    {
        return next.run(r);
    }
    gzip::announce_variants(r);
    if gzip::client_accepts(r) {
        return next.run(r);
    }
    r.set_ctx(Rc::new(State(RefCell::new(MultiGzDecoder::new(Vec::new())))));
    r.filter_need_in_memory.set(true);
    out.list.borrow_mut().remove_known(HeaderId::ContentEncoding);
    out.clear_content_length();
    out.clear_accept_ranges();
    out.weaken_etag();
    next.run(r)
}

/// Unpacks.
pub(crate) fn body_filter(r: &Rc<Request>, chain: Chain, next: BodyNext) -> Code {
    if chain.is_empty() {
        return next.run(r, chain);
    }
    let Some(state) = r.ctx::<State>() else { return next.run(r, chain) };
    let mut out = Chain::new();
    for buf in chain {
        let mut decoder = state.0.borrow_mut();
        let ends = buf.last || buf.last_in_chain;
        let unpacked = for_each_piece(&buf, |piece| decoder.write_all(piece))
            .and_then(|()| if ends { decoder.try_finish() } else { decoder.flush() });
        if let Err(error) = unpacked {
            r.log(Level::Error, format_args!("inflate() failed: {error}"));
            return Code::ERROR;
        }
        let bytes = std::mem::take(decoder.get_mut());
        out.push(Buf { data: Buf::bytes(bytes).data, ..buf });
    }
    next.run(r, out)
}
