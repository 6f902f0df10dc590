//! Puts the output of subrequests where it belongs: each waits for those before it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::code::Code;
use super::output::{BodyNext, Chain, Data};
use super::request::Request;

/// Something that waits for its turn.
pub enum Postponed {
    /// Output of the request itself.
    Output(Chain),
    /// A subrequest's.
    Request(Rc<Request>),
}

/// The body filter. What has its turn goes on as a part of the main request's response.
pub(crate) fn filter(r: &Rc<Request>, chain: Chain, _next: BodyNext) -> Code {
    if !r.is_main() && !r.has_output.get() && chain.iter().any(|buf| !buf.is_empty()) {
        r.has_output.set(true);
    }
    if r.subrequest_in_memory.get() {
        if !r.header_only.get() {
            capture(r, &chain);
        }
        return Code::OK;
    }
    if r.background.get() || r.mute.get() {
        return Code::OK;
    }
    if r.is_main() && r.postponed.borrow().is_empty() && r.conn().is_active(r) {
        return BodyNext::of_response(r).run(r, chain);
    }
    if !r.conn().is_active(r) {
        add(r, chain);
        return Code::OK;
    }
    if r.postponed.borrow().is_empty() {
        if !chain.is_empty() || r.conn().has_output() {
            let main = r.main();
            return BodyNext::of_response(&main).run(&main, chain);
        }
        return Code::OK;
    }
    add(r, chain);
    release(r)
}

/// Sends what the active request postponed, up to the first subrequest, whose turn it is then, with what that
/// one postponed.
fn release(r: &Rc<Request>) -> Code {
    let main = r.main();
    let mut active = Rc::clone(r);
    loop {
        let first = {
            let mut postponed = active.postponed.borrow_mut();
            if postponed.is_empty() { None } else { Some(postponed.remove(0)) }
        };
        match first {
            None => return Code::OK,
            Some(Postponed::Output(chain)) => {
                let code = BodyNext::of_response(&main).run(&main, chain);
                if code == Code::ERROR {
                    return code;
                }
            }
            Some(Postponed::Request(subrequest)) => {
                r.conn().set_active(&subrequest);
                r.conn().wake();
                active = subrequest;
            }
        }
    }
}

/// Appends to the last output that waits, behind any subrequest.
fn add(r: &Request, chain: Chain) {
    if chain.is_empty() {
        return;
    }
    let mut postponed = r.postponed.borrow_mut();
    match postponed.last_mut() {
        Some(Postponed::Output(last)) => last.extend(chain),
        _ => postponed.push(Postponed::Output(chain)),
    }
}

fn capture(r: &Request, chain: &Chain) {
    let mut captured = r.captured.borrow_mut();
    for buf in chain {
        if buf.last || buf.last_in_chain {
            r.captured_last.set(true);
        }
        match &buf.data {
            Data::None => {}
            Data::Bytes(bytes) => captured.extend_from_slice(bytes),
            Data::File { file, start, end } => {
                let length = usize::try_from(end.saturating_sub(*start)).unwrap_or(0);
                let old = captured.len();
                captured.resize(old + length, 0);
                let read = std::os::unix::fs::FileExt::read_exact_at(&**file, &mut captured[old..], *start);
                if read.is_err() {
                    captured.truncate(old);
                }
            }
        }
    }
}

/// Waits until everything that this subrequest wrote went on its way.
pub(crate) async fn wait_for_turn(r: &Rc<Request>) {
    if r.subrequest_in_memory.get() || r.background.get() {
        // Whoever is waited for wakes the connection.
        return poll_fn(|_| if r.held_back.get() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
    poll_fn(|_| {
        if r.conn().is_active(r) {
            if r.postponed.borrow().is_empty() && !r.held_back.get() {
                return Poll::Ready(());
            }
            // Through the whole chain: other filters may hold something back as well.
            super::output::write(r, Chain::new());
            if r.postponed.borrow().is_empty() && r.conn().is_active(r) && !r.held_back.get() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// The turn goes back to the parent when a subrequest has ended.
pub(crate) fn leave(r: &Rc<Request>) {
    let Some(parent) = r.parent() else { return };
    let in_turn = !r.subrequest_in_memory.get() && !r.background.get();
    if in_turn {
        r.conn().set_active(parent);
    }
    let continues = parent.is_main() || parent.done.get() || !parent.postponed.borrow().is_empty();
    if in_turn && continues || parent.held_back.get() {
        super::output::write(parent, Chain::new());
    }
    r.conn().wake();
}
