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

    /// 200
    pub const HTTP_OK: Self = Self(200);
    /// 201
    pub const CREATED: Self = Self(201);
    /// 204
    pub const NO_CONTENT: Self = Self(204);
    /// 206
    pub const PARTIAL_CONTENT: Self = Self(206);
    /// 301
    pub const MOVED_PERMANENTLY: Self = Self(301);
    /// 302
    pub const MOVED_TEMPORARILY: Self = Self(302);
    /// 303
    pub const SEE_OTHER: Self = Self(303);
    /// 304
    pub const NOT_MODIFIED: Self = Self(304);
    /// 307
    pub const TEMPORARY_REDIRECT: Self = Self(307);
    /// 308
    pub const PERMANENT_REDIRECT: Self = Self(308);
    /// 400
    pub const BAD_REQUEST: Self = Self(400);
    /// 401
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403
    pub const FORBIDDEN: Self = Self(403);
    /// 404
    pub const NOT_FOUND: Self = Self(404);
    /// 405
    pub const NOT_ALLOWED: Self = Self(405);
    /// 408
    pub const REQUEST_TIME_OUT: Self = Self(408);
    /// 411
    pub const LENGTH_REQUIRED: Self = Self(411);
    /// 412
    pub const PRECONDITION_FAILED: Self = Self(412);
    /// 413
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(413);
    /// 414
    pub const REQUEST_URI_TOO_LARGE: Self = Self(414);
    /// 416
    pub const RANGE_NOT_SATISFIABLE: Self = Self(416);
    /// 421
    pub const MISDIRECTED_REQUEST: Self = Self(421);
    /// 429
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    /// 444: close the connection without an answer.
    pub const CLOSE: Self = Self(444);
    /// 494: the head is too large; the client sees 400.
    pub const REQUEST_HEADER_TOO_LARGE: Self = Self(494);
    /// 499: the client went away.
    pub const CLIENT_CLOSED_REQUEST: Self = Self(499);
    /// 500
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    /// 501
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 502
    pub const BAD_GATEWAY: Self = Self(502);
    /// 503
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 504
    pub const GATEWAY_TIME_OUT: Self = Self(504);
    /// 505
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
    /// 507
    pub const INSUFFICIENT_STORAGE: Self = Self(507);

    /// Whether this is an HTTP status from 300 on, which ends a request with a special response.
    pub const fn is_special_response(self) -> bool {
        self.0 >= 300
    }
}
