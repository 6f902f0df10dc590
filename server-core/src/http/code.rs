//! What a handler answers: nginx's return codes, which Lua code also sees and passes on.

/// A return code: zero or negative values steer the phases, values of 100 and more are HTTP statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub i32);

impl Code {
    /// Done and fine; in access phases «allowed».
    pub const OK: Self = Self(0);
    /// Failed; the connection is of no more use.
    pub const ERROR: Self = Self(-1);
    /// Not finished; will go on later.
    pub const AGAIN: Self = Self(-2);
    /// Busy; used by limits.
    pub const BUSY: Self = Self(-3);
    /// Finished, and the request has been taken care of elsewhere (an internal redirect, for instance).
    pub const DONE: Self = Self(-4);
    /// No opinion: the next handler decides.
    pub const DECLINED: Self = Self(-5);
    /// Aborted by the operator or by a limit.
    pub const ABORT: Self = Self(-6);

    /// Whether this is an HTTP status from 300 on, which ends a request with a special response.
    pub const fn is_special_response(self) -> bool {
        self.0 >= 300
    }
}
