//! `ngx_http_memc_module`: most commands of memcached, chosen by variables.
//!
//! [`conf`] holds the settings, [`command`] knows the commands and writes them, [`reply`] reads what is answered to
//! those other than `get`.

mod command;
mod conf;
mod reply;

use std::rc::Rc;

use bytes::Bytes;

use self::command::{Call, Command};
pub use self::conf::{LocConf, MainConf, SrvConf};
pub(crate) use self::conf::{RULES, VARIABLES};
use super::memcached::Key;
use super::memcached::value::{Gzip, ValueReader};
use crate::http::code::Code;
use crate::http::conf::LocConf as Loc;
use crate::http::phases::{Handler, Outcome};
use crate::http::request::Request;
use crate::http::upstream::destination::Destination;
use crate::http::upstream::{self, Conf, Dialing, Outgoing, Protocol, Reader, Route};
use crate::log::Level;
use crate::upstream::address::Target;

/// `memc_pass`
pub(super) struct MemcHandler;

impl Handler for MemcHandler {
    fn handle(&self, r: &Rc<Request>) -> Outcome {
        let call = match Call::of(r) {
            Ok(call) => call,
            Err(code) => return code.into(),
        };
        r.set_content_type();
        let kind: &'static dyn Protocol = match call.command {
            Command::Get => &Memc::<true>,
            _ => &Memc::<false>,
        };
        r.set_ctx(Rc::new(call));
        upstream::answer(r, kind)
    }
}

/// The module, for `get` or for the other commands.
struct Memc<const GETS: bool>;

impl<const GETS: bool> Dialing for Memc<GETS> {
    fn conf(&self, loc: &'static Loc) -> &'static Conf {
        &loc.memc.upstream
    }

    fn route(&self, r: &Rc<Request>) -> Result<Route, Code> {
        let (target, group) = match r.loc().memc.pass.as_deref() {
            None => return Err(Code::INTERNAL_SERVER_ERROR),
            Some(conf::Pass::Fixed(pass)) => {
                let group = pass.group.get().cloned().ok_or(Code::INTERNAL_SERVER_ERROR)?;
                (pass.target.clone(), Some(group))
            }
            Some(conf::Pass::Variable(value)) => {
                let text = value.eval(r);
                if text.is_empty() {
                    r.log(Level::Error, format_args!("memc: handler: empty \"memc_pass\" target"));
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                let target = Target::parse(&text, 0).map_err(|_| Code::INTERNAL_SERVER_ERROR)?;
                let group = r.main_conf().upstream.find(&target.host, target.has_port.then_some(target.port)).cloned();
                if group.is_none() {
                    r.log_bytes(Level::Error, &[b"memc: upstream \"", &text, b"\" not found"]);
                    return Err(Code::INTERNAL_SERVER_ERROR);
                }
                (target, group)
            }
        };
        Ok(Route { target, group, uri: Bytes::new(), scheme: "memcached://", tls: false, default_port: 0 })
    }

    fn request(&self, r: &Rc<Request>, _destination: &Destination) -> Result<Outgoing, Code> {
        let call = r.ctx::<Call>().ok_or(Code::INTERNAL_SERVER_ERROR)?;
        r.set_ctx(Rc::new(Key(call.key.clone())));
        call.write(r)
    }
}

impl<const GETS: bool> Protocol for Memc<GETS> {
    fn hidden(&self) -> &'static [&'static str] {
        &[]
    }

    fn intercepts_404(&self) -> bool {
        true
    }

    fn reader(&self, _outgoing: &Outgoing) -> Box<dyn Reader> {
        if GETS { Box::new(ValueReader::new(Gzip::Never)) } else { Box::new(reply::ReplyReader::default()) }
    }
}
