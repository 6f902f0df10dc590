//! `types` and the three types nginx knows without it.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Block, Directive};
use crate::http::conf::Scope;
use crate::log::Level;

/// By extension in lower case.
type Types = HashMap<Box<[u8]>, Bytes>;

pub(super) fn defaults() -> Rc<Types> {
    let known = [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")];
    Rc::new(known.map(|(exten, kind)| (exten.as_bytes().into(), Bytes::from_static(kind.as_bytes()))).into())
}

pub(super) fn apply(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Block::Directives(lines) = &directive.block else { return Ok(()) };
    let slot = scope.loc.core.types.slot();
    let mut types = slot.take().map_or_else(Types::new, |types| Types::clone(&types));
    for line in lines {
        let kind = Bytes::copy_from_slice(&line.name.text);
        for exten in &line.args {
            let Some(old) = types.insert(exten.text.to_ascii_lowercase().into(), kind.clone()) else { continue };
            let [kind, old] = [&kind, &old].map(|kind| String::from_utf8_lossy(kind));
            let exten = exten.text.to_ascii_lowercase();
            let exten = String::from_utf8_lossy(&exten);
            let message =
                format!("duplicate extension \"{exten}\", content type: \"{kind}\", previous content type: \"{old}\"");
            scope.cycle.notice(Level::Warn, line.error("duplicate_extension", message));
        }
    }
    *slot = Some(Rc::new(types));
    Ok(())
}
