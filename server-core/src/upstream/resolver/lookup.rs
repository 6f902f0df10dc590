//! Lookups with a cache.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::conf::ResolverConf;
use super::message::{Answer, Kind};
use super::query;

/// Aliases that are followed for one name.
const ALIASES_MAX: usize = 50;
/// How long a negative answer is kept.
const NEGATIVE: Duration = Duration::from_secs(0);
/// Names in the cache; more than that throws out what has expired.
const ENTRIES_MAX: usize = 10_000;

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The server's response code, from 1 on.
    #[error("{}: {}", .0, code_text(*.0))]
    Code(u8),
    /// Nobody answered in time.
    #[error("110: Operation timed out")]
    TimedOut,
}

impl ResolveError {
    /// There is no such name.
    pub const NOT_FOUND: Self = Self::Code(NAME_ERROR);

    /// The text without the number.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Code(code) => code_text(code),
            Self::TimedOut => "Operation timed out",
        }
    }
}

/// The texts of nginx for response codes.
const fn code_text(code: u8) -> &'static str {
    match code {
        1 => "Format error",
        2 => "Server failure",
        3 => "Host not found",
        4 => "Unimplemented",
        5 => "Operation refused",
        _ => "Unknown error",
    }
}

/// Host not found, in the numbers of DNS.
const NAME_ERROR: u8 = 3;

type Found = Result<Rc<[IpAddr]>, ResolveError>;

enum Entry {
    Known {
        found: Found,
        until: Instant,
    },
    /// Asked for; whoever waits listens to this.
    Asked(Rc<watch::Sender<Option<Found>>>),
}

/// A resolver of one worker. Lookups of one name at the same time share a question.
pub struct Resolver {
    conf: Rc<ResolverConf>,
    names: RefCell<HashMap<String, Entry>>,
    next_server: Cell<usize>,
    turn: Cell<usize>,
}

thread_local! {
    /// The resolvers of the worker by the address of their settings, which they keep alive.
    static RESOLVERS: RefCell<HashMap<*const ResolverConf, Rc<Resolver>>> = RefCell::default();
}

impl Resolver {
    /// The worker's resolver with these settings; all levels that inherited them share its cache.
    pub fn of(conf: &Rc<ResolverConf>) -> Rc<Self> {
        RESOLVERS.with_borrow_mut(|resolvers| {
            let resolver = resolvers.entry(Rc::as_ptr(conf)).or_insert_with(|| Self::new(Rc::clone(conf)));
            Rc::clone(resolver)
        })
    }

    /// A resolver with an empty cache.
    pub fn new(conf: impl Into<Rc<ResolverConf>>) -> Rc<Self> {
        let conf = conf.into();
        Rc::new(Self { conf, names: RefCell::default(), next_server: Cell::new(0), turn: Cell::new(0) })
    }

    /// The addresses of a name, rotated at each call. Waits at most `limit`.
    ///
    /// Cancel-safe: the question goes on without its first asker when others wait for it.
    pub async fn resolve(self: &Rc<Self>, name: &str, limit: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let local = self.conf.hosts.find(&name, self.conf.ipv4, self.conf.ipv6);
        if !local.is_empty() {
            return Ok(local);
        }
        let mut answer = match self.cached(&name) {
            Ok(found) => return found.map(|addresses| self.rotated(&addresses)),
            Err(answer) => answer,
        };
        let arrived = tokio::time::timeout(limit, answer.wait_for(Option::is_some)).await;
        match arrived {
            Ok(Ok(found)) => match &*found {
                Some(Ok(addresses)) => Ok(self.rotated(addresses)),
                Some(Err(error)) => Err(*error),
                None => Err(ResolveError::TimedOut),
            },
            Ok(Err(_)) | Err(_) => Err(ResolveError::TimedOut),
        }
    }

    /// What is known, or where the answer will arrive.
    fn cached(self: &Rc<Self>, name: &str) -> Result<Found, watch::Receiver<Option<Found>>> {
        let mut names = self.names.borrow_mut();
        match names.get(name) {
            Some(Entry::Known { found, until }) if *until > Instant::now() => return Ok(found.clone()),
            Some(Entry::Asked(sender)) if sender.receiver_count() > 0 => return Err(sender.subscribe()),
            _ => {}
        }
        if names.len() >= ENTRIES_MAX {
            let now = Instant::now();
            names.retain(|_, entry| match entry {
                Entry::Known { until, .. } => *until > now,
                Entry::Asked(_) => true,
            });
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Rc::new(sender);
        names.insert(name.to_owned(), Entry::Asked(Rc::clone(&sender)));
        let (resolver, name) = (Rc::clone(self), name.to_owned());
        tokio::task::spawn_local(async move {
            tokio::select! {
                (found, lifetime) = resolver.look_up(&name) => {
                    let entry = Entry::Known { found: found.clone(), until: Instant::now() + lifetime };
                    resolver.names.borrow_mut().insert(name, entry);
                    sender.send_replace(Some(found));
                }
                // Nobody waits any more: the question is dropped and the name free to be asked again.
                () = sender.closed() => {
                    let mut names = resolver.names.borrow_mut();
                    if matches!(names.get(&name), Some(Entry::Asked(last)) if Rc::ptr_eq(last, &sender)) {
                        names.remove(&name);
                    }
                }
            }
        });
        Err(receiver)
    }

    async fn look_up(&self, name: &str) -> (Found, Duration) {
        let first = self.next_server.get();
        self.next_server.set(first.wrapping_add(1));
        let servers = &self.conf.servers;
        let ask = |kind: Kind, wanted: bool| async move {
            if wanted { Some(follow(servers, first, name, kind).await) } else { None }
        };
        let (v4, v6) = tokio::join!(ask(Kind::A, self.conf.ipv4), ask(Kind::Aaaa, self.conf.ipv6));
        let answers: Vec<Answer> = v4.into_iter().chain(v6).flatten().collect();
        let addresses: Rc<[IpAddr]> = answers.iter().flat_map(|answer| answer.addresses.iter().copied()).collect();
        if addresses.is_empty() {
            let code = answers.iter().map(|answer| answer.code).find(|code| *code != 0).unwrap_or(NAME_ERROR);
            return (Err(ResolveError::Code(code)), NEGATIVE);
        }
        let ttl = answers.iter().filter(|answer| !answer.addresses.is_empty()).map(|answer| answer.ttl).min();
        let lifetime = self.conf.valid.unwrap_or(Duration::from_secs(u64::from(ttl.unwrap_or(0))));
        (Ok(addresses), lifetime)
    }

    fn rotated(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let mut rotated = addresses.to_vec();
        rotated.rotate_left(turn % addresses.len().max(1));
        rotated
    }
}

/// Asks for a name and for the aliases that come back.
async fn follow(servers: &[std::net::SocketAddr], first: usize, name: &str, kind: Kind) -> Option<Answer> {
    let mut name = name.to_owned();
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let mut answer = query::ask(servers, first, &name, kind).await?;
        ttl = ttl.min(answer.ttl);
        match answer.alias.take() {
            Some(alias) if answer.code == 0 && answer.addresses.is_empty() => name = alias,
            _ => {
                answer.ttl = ttl;
                return Some(answer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::super::message::tests::reply;
    use super::*;

    /// Runs `test` with a name server that answers each question through `serve`.
    fn with_server<T: Future<Output = ()>>(
        serve: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static,
        test: impl FnOnce(ResolverConf) -> T + 'static,
    ) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap().to_string();
            tokio::task::spawn_local(async move {
                let mut buffer = [0; 512];
                loop {
                    let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                    if let Some(message) = serve(&buffer[..length]) {
                        socket.send_to(&message, peer).await.unwrap();
                    }
                }
            });
            test(ResolverConf::parse([address.as_str(), "ipv6=off"]).unwrap()).await;
        });
    }

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn concurrent_and_repeated_lookups_share_one_question() {
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        with_server(
            move |question| {
                count.set(count.get() + 1);
                Some(reply(question, 0, &[(1, 60, vec![127, 0, 0, 9]), (1, 60, vec![127, 0, 0, 8])]))
            },
            |conf| async move {
                let resolver = Resolver::new(conf);
                let both = tokio::join!(resolver.resolve("A.example", LIMIT), resolver.resolve("a.example.", LIMIT));
                let (one, two) = (both.0.unwrap(), both.1.unwrap());
                assert_eq!(one.len(), 2);
                assert_ne!(one, two, "the addresses rotate");
                assert_eq!(resolver.resolve("a.example", LIMIT).await.unwrap().len(), 2);
                assert_eq!(asked.get(), 1);
            },
        );
    }

    #[test]
    fn a_question_that_nobody_waits_for_is_asked_anew() {
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        with_server(
            move |_| {
                count.set(count.get() + 1);
                None
            },
            |conf| async move {
                let resolver = Resolver::new(conf);
                // On a busy machine the time may be over before the question has left.
                for _ in 0..100 {
                    resolver.resolve("a.example", Duration::from_millis(20)).await.unwrap_err();
                    if asked.get() >= 3 {
                        return;
                    }
                }
                panic!("it was asked {} times", asked.get());
            },
        );
    }

    #[test]
    fn a_name_that_is_not_there_has_nginx_text() {
        with_server(
            |question| Some(reply(question, 3, &[])),
            |conf| async move {
                let error = Resolver::new(conf).resolve("a.example", LIMIT).await.unwrap_err();
                assert_eq!(error.to_string(), "3: Host not found");
            },
        );
    }

    #[test]
    fn silence_times_out() {
        with_server(
            |_| None,
            |conf| async move {
                let error = Resolver::new(conf).resolve("a.example", Duration::from_millis(20)).await.unwrap_err();
                assert_eq!(error.to_string(), "110: Operation timed out");
            },
        );
    }
}
