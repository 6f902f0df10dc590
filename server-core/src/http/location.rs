//! Locations: which one serves a path, and what entering it means.

use std::rc::Rc;

use super::conf::LocConf;
use super::request::Request;

/// Makes `loc` the location of the request and takes over what depends on it
/// (`ngx_http_update_location_config`).
pub fn enter(r: &Rc<Request>, loc: &'static LocConf) {
    r.set_loc(loc);
    if let Some(handler) = loc.core.handler {
        r.content_handler.set(Some(handler));
    }
}
