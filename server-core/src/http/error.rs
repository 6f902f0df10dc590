//! What can go wrong while a request is served, and whose fault it is.

use super::code::Code;

/// Who caused an error; that alone picks the log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The Lua code or the configuration of the application.
    App,
    /// The client.
    Client,
    /// We, or the machine.
    Internal,
    /// A server behind us.
    Upstream,
}

/// Why the connection to the client is of no more use, or a request can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client sent something that isn't HTTP, or that we refuse.
    #[error("client sent {0}")]
    BadRequest(&'static str, Code),
    /// The client closed the connection.
    #[error("client prematurely closed connection")]
    ClientClosed,
    /// The client took too long.
    #[error("client timed out")]
    ClientTimedOut,
    /// The socket failed.
    #[error("failed to use the connection")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadRequest(..) | Self::ClientClosed | Self::ClientTimedOut | Self::Io(_) => Fault::Client,
        }
    }

    /// The code with which the request ends.
    pub fn code(&self) -> Code {
        match self {
            Self::BadRequest(_, code) => *code,
            Self::ClientClosed => Code::CLIENT_CLOSED_REQUEST,
            Self::ClientTimedOut => Code::REQUEST_TIME_OUT,
            Self::Io(_) => Code::ERROR,
        }
    }
}
