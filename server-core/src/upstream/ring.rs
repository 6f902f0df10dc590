//! Consistent hashing: a ring of points, so that most keys stay where they are when a server comes or goes.
//!
//! The points are those of the Ketama library and of Perl's `Cache::Memcached::Fast`, so that keys go where clients of
//! the same servers look for them.

use bytes::Bytes;

/// Points of a server with weight 1.
const POINTS: i64 = 160;

/// The ring.
#[derive(Debug, Default)]
pub struct Ring {
    /// Points with the server they lead to, in order.
    points: Vec<(u32, Bytes)>,
}

impl Ring {
    /// The ring of servers with their weights.
    pub fn of<'a>(servers: impl Iterator<Item = (&'a Bytes, i64)>) -> Self {
        let mut points = Vec::new();
        for (server, weight) in servers {
            let (host, port) = split(server);
            let mut base = crc32fast::Hasher::new();
            base.update(host);
            base.update(b"\0");
            base.update(port);
            let mut previous = 0u32;
            for _ in 0..POINTS * weight.max(0) {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, server.clone()));
            }
        }
        // Stable: of equal points the first server's stays.
        points.sort_by_key(|(point, _)| *point);
        points.dedup_by_key(|(point, _)| *point);
        Self { points }
    }

    /// Where a key is on the ring.
    pub fn find(&self, key: &[u8]) -> usize {
        let hash = crc32fast::hash(key);
        self.points.partition_point(|(point, _)| *point < hash)
    }

    /// The server at a place; places go on around the ring.
    pub fn server(&self, place: usize) -> Option<&Bytes> {
        self.points.get(place % self.points.len().max(1)).map(|(_, server)| server)
    }
}

/// Host and port as they are hashed: without `unix:`, and without a colon between them.
fn split(server: &[u8]) -> (&[u8], &[u8]) {
    if let Some(path) = server.get(..5).filter(|start| start.eq_ignore_ascii_case(b"unix:")).map(|_| &server[5..]) {
        return (path, b"");
    }
    let digits = server.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let colon = server.len() - digits;
    match colon.checked_sub(1).filter(|at| digits > 0 && server[*at] == b':') {
        Some(at) => (&server[..at], &server[colon..]),
        None => (server, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(names: &[&'static str]) -> Ring {
        let names: Vec<Bytes> = names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect();
        Ring::of(names.iter().map(|name| (name, 1)))
    }

    #[test]
    fn names_are_taken_apart_for_hashing() {
        assert_eq!(split(b"a.example:8080"), (&b"a.example"[..], &b"8080"[..]));
        assert_eq!(split(b"unix:/run/a"), (&b"/run/a"[..], &b""[..]));
        assert_eq!(split(b"a.example"), (&b"a.example"[..], &b""[..]));
        assert_eq!(split(b"80"), (&b"80"[..], &b""[..]));
    }

    #[test]
    fn most_keys_stay_when_a_server_goes() {
        let (all, fewer) = (ring(&["a:1", "b:1", "c:1", "d:1"]), ring(&["a:1", "b:1", "c:1"]));
        let keys = (0..1000).map(|number: u32| number.to_string().into_bytes());
        let moved = keys.filter(|key| {
            let (before, after) = (all.server(all.find(key)), fewer.server(fewer.find(key)));
            before != after && before.is_some_and(|server| server != "d:1")
        });
        assert_eq!(moved.count(), 0);
    }

    #[test]
    fn an_empty_ring_leads_nowhere() {
        assert_eq!(ring(&[]).server(7), None);
    }
}
