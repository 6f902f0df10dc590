//! `$fastcgi_script_name` and `$fastcgi_path_info`.

use bytes::Bytes;

use crate::http::request::Request;
use crate::http::variables::VariableDef;

/// The variables.
pub(crate) const VARIABLES: &[VariableDef] = &[
    VariableDef::volatile("fastcgi_script_name", |r, _| {
        let script = split(r).map_or_else(|| r.uri.get(), |(script, _)| script);
        match &r.loc().fastcgi.index {
            Some(index) if script.ends_with(b"/") => Some([&script[..], index].concat().into()),
            _ => Some(script),
        }
    }),
    VariableDef::volatile("fastcgi_path_info", |r, _| Some(split(r).map_or_else(Bytes::new, |(_, info)| info))),
];

/// Script and path as `fastcgi_split_path_info` tells them apart. The groups of other patterns stay what they are.
fn split(r: &Request) -> Option<(Bytes, Bytes)> {
    let pattern = r.loc().fastcgi.split.as_ref()?;
    let outer = r.captures.borrow().clone();
    let found = pattern.exec(r, &r.uri.get()).unwrap_or(false);
    let parts = found.then(|| (r.capture(1).unwrap_or_default(), r.capture(2).unwrap_or_default()));
    *r.captures.borrow_mut() = outer;
    parts
}
