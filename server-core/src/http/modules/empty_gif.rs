//! `ngx_http_empty_gif_module`: a transparent pixel.

use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::code::Code;
use crate::http::conf::Scope;
use crate::http::method::Method;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::special_response;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// The directive table.
pub(crate) const RULES: &[Rule] =
    &[Rule { name: "empty_gif", contexts: Contexts::LOCATION, args: Arity::Words(0, 0), apply: empty_gif }];

fn empty_gif(scope: &mut Scope<'_>, _directive: &Directive) -> Result<(), Diagnostic> {
    scope.loc.core.handler = Some(&EmptyGifHandler);
    Ok(())
}

struct EmptyGifHandler;

impl Handler for EmptyGifHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        if !r.method.get().is_one_of(Method::GET.0 | Method::HEAD.0) {
            return Code::NOT_ALLOWED.into();
        }
        r.headers_out.last_modified.set(23_349_600);
        let kind = Bytes::from_static(b"image/gif");
        special_response::send(r, 200, Some(kind), Bytes::from_static(PIXEL)).into()
    }
}

/// One transparent pixel, 43 bytes.
const PIXEL: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\x01\0,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;";

#[cfg(test)]
mod tests {
    #[test]
    fn the_pixel_has_43_bytes() {
        assert_eq!(super::PIXEL.len(), 43);
    }
}
