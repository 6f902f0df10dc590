//! A connection to a server of a group for whoever speaks to it without requests: sessions of `stream { }`.

use std::rc::Rc;

use super::conf::Failure;
use super::head::NoHead;
use super::protocol::Dialing;
use super::proxied::Proxied;
use crate::http::code::Code;
use crate::http::modules::upstream::Attempts;
use crate::http::request::Request;
use crate::log::Level;
use crate::upstream::connection::Connection;

/// Reaches a server as `protocol` says and leaves its connection to `serve`, which answers for the session. Without
/// a server, the code says why.
pub(crate) async fn dial<F: Future<Output = Code>>(
    r: &Rc<Request>,
    protocol: &'static dyn Dialing,
    serve: impl FnOnce(Rc<Connection>) -> F,
) -> Code {
    let attempts = Attempts::begin(r);
    let mut proxied = match Proxied::begin(r, &attempts, protocol, false).await {
        Ok(proxied) => proxied,
        Err(code) => return code,
    };
    let connection = match connect(&mut proxied).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let code = serve(connection).await;
    proxied.finish();
    code
}

async fn connect(proxied: &mut Proxied<'_, dyn Dialing>) -> Result<Rc<Connection>, Code> {
    loop {
        proxied.r.conn().action.set(Some("connecting to upstream"));
        proxied.attempts.start();
        let chosen = proxied.choose().inspect_err(|code| proxied.r.debug(format_args!("proxy connect: {}", code.0)))?;
        let failure = match chosen {
            Some(address) => match proxied.reach(&address).await {
                Ok(reached) => return Ok(reached.connection),
                Err(NoHead::Failed(failure)) => failure,
                Err(NoHead::Ended(code)) => return Err(code),
            },
            None => {
                proxied.r.log(Level::Error, format_args!("no live upstreams"));
                Failure::NO_LIVE
            }
        };
        // Whatever was wrong with the servers, there is one status for it.
        if proxied.next(failure).is_some() {
            return Err(Code::BAD_GATEWAY);
        }
    }
}
