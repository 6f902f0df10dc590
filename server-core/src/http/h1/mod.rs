//! HTTP/1 on bytes: heads, URIs and chunked bodies. Nothing in here touches a socket.

pub mod chunked;
pub mod head;
pub mod uri;
