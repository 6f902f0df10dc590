//! What filters of bodies share: the bytes of a buffer in pieces, and lists of media types.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use rsty_diag::Diagnostic;

use crate::conf::Directive;
use crate::http::output::{Buf, Data};
use crate::http::request::Request;

/// How much of a file is read at once.
const PIECE: u64 = 64 * 1024;

/// Gives the bytes of a buffer, read from its file if they are in one.
pub(super) fn for_each_piece(buf: &Buf, mut piece: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    match &buf.data {
        Data::None => Ok(()),
        Data::Bytes(bytes) => piece(bytes),
        Data::File { file, start, end } => {
            let mut at = *start;
            let mut bytes = vec![0; PIECE.min(end.saturating_sub(*start)) as usize];
            while at < *end {
                let wanted = PIECE.min(end - at) as usize;
                file.read_exact_at(&mut bytes[..wanted], at)?;
                piece(&bytes[..wanted])?;
                at += wanted as u64;
            }
            Ok(())
        }
    }
}

/// Media types for which a filter works (`gzip_types` and the like).
#[derive(Clone, Debug, Default)]
pub(super) struct MediaTypes(Option<Rc<Vec<Box<[u8]>>>>);

impl MediaTypes {
    /// Adds the words of a directive; `text/html` is always among them unless a filter has other defaults.
    pub(super) fn add(&mut self, directive: &Directive, always: &[&str]) -> Result<(), Diagnostic> {
        let types = self.0.get_or_insert_with(|| Rc::new(always.iter().map(|kind| kind.as_bytes().into()).collect()));
        for word in &directive.args {
            Rc::make_mut(types).push(word.text.to_ascii_lowercase().into());
        }
        Ok(())
    }

    /// Takes the outer list where there is none.
    pub(super) fn merge(&mut self, outer: &Self) {
        if self.0.is_none() {
            self.0.clone_from(&outer.0);
        }
    }

    /// Whether the response's type is in the list; without a list, whether it is one of `defaults`.
    /// `*` is any type, and none as well.
    pub(super) fn accept(&self, r: &Request, defaults: &[&str]) -> bool {
        let is_any = |types: &[Box<[u8]>]| types.iter().any(|known| &**known == b"*");
        if self.0.as_ref().is_some_and(|types| is_any(types)) {
            return true;
        }
        let content_type = r.headers_out.content_type.get();
        if content_type.is_empty() {
            return false;
        }
        let end = memchr::memchr(b';', &content_type).unwrap_or(content_type.len());
        let kind = content_type[..end].trim_ascii_end();
        match &self.0 {
            None => defaults.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes())),
            Some(types) => types.iter().any(|known| kind.eq_ignore_ascii_case(known)),
        }
    }
}
