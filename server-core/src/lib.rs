//! The web server of rsty: nginx configuration, LuaJIT and the `ngx.*` API in one process model.
//!
//! The crate never prints and never reads the command line; `cli` owns both. A request's way is one
//! line: listener, connection, head, phases in order, content handler, output filters, encoder, socket.
//! `docs/design/server.md` draws the floors and the contracts between them.

pub mod clock;
pub mod codec;
pub mod conf;
pub mod cycle;
mod datagram_socket;
mod deadline;
pub(crate) mod dev;
pub mod http;
mod idle_watch;
mod interrupted;
pub mod log;
pub mod lua;
pub mod lualib;
pub mod process;
pub mod shared_dict;
mod slow_network;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod version;
