//! The beginning and the end of a request that another server answers.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::protocol::Protocol;
use super::proxied::Proxied;
use crate::http::body;
use crate::http::code::Code;
use crate::http::modules::upstream::Attempts;
use crate::http::phases::Outcome;
use crate::http::request::Request;
use crate::http::request_log::debug;
use crate::log::Level;

/// Answers a request through a server that speaks `protocol`.
pub(crate) fn answer(r: &Rc<Request>, protocol: &'static dyn Protocol) -> Outcome {
    let r = Rc::clone(r);
    Outcome::wait(async move { serve(&r, protocol).await })
}

async fn serve(r: &Rc<Request>, protocol: &'static dyn Protocol) -> Code {
    let conf = protocol.conf(r.loc());
    let streams = !*conf.request_buffering && r.is_main() && r.body.borrow().is_none() && protocol.streams_body(r);
    if streams {
        r.request_body_in_file_only.set(false);
    }
    // What is here already needs not be streamed.
    let is_here = streams && body::is_here(r);
    let streams = streams && !is_here;
    if streams {
        if !body::begin_stream(r) {
            return Code::INTERNAL_SERVER_ERROR;
        }
    } else {
        let code = if is_here { body::read_here(r) } else { body::read(r) }.code().await;
        if code == Code::ERROR || code.is_special_response() {
            return code;
        }
    }
    let attempts = Attempts::begin(r);
    // It is large, so it is not moved any more.
    let mut proxied = pin!(Proxied::answer(r, &attempts, protocol, streams));
    // A response that may be kept is worth fetching even for nobody.
    let for_client = r.is_main() && !r.conn().is_fake() && !r.post_action.get();
    let watched = for_client && !*conf.ignore_client_abort && !conf.cache.is_on();
    let code = if watched {
        let gone = async {
            // Who passes a body on sees by itself that the client is gone. Both are polled together, so that the
            // end of the body is noticed here.
            poll_fn(|_| if r.reading_body.get() { Poll::Pending } else { Poll::Ready(()) }).await;
            r.conn().client_gone().await;
        };
        tokio::select! {
            biased;
            code = &mut proxied => code,
            () = gone => {
                let message = "epoll_wait() reported that client prematurely closed connection, \
                               so upstream connection is closed too";
                r.log(Level::Info, format_args!("{message}"));
                attempts.end();
                Code::CLIENT_CLOSED_REQUEST
            }
        }
    } else {
        proxied.await
    };
    r.reading_body.set(false);
    debug!(r, "finalize http upstream request: {}", code.0);
    r.conn().action.set(Some("sending to client"));
    code
}
