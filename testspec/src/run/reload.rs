//! The mode in which the blocks of a file share one server, which is told to reload its configuration between them.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::run::block::{Gathered, Run};
use crate::run::check::BailOut;
use crate::run::root::{RootError, UserFile};
use crate::run::server::Server;

/// How many answers in a row must come from the new configuration: old workers take a while to leave.
const ANSWERS: u32 = 20;
/// How long the new configuration may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A name for a configuration that no other has.
pub(crate) fn new_version() -> String {
    let mut version = format!("{:016x}", RandomState::new().build_hasher().finish());
    version.truncate(10);
    version
}

impl Run<'_> {
    /// Gives the running server the block's configuration.
    pub(crate) fn reload(
        &self,
        server: &mut Server,
        files: &[UserFile],
        gathered: &mut Gathered<'_>,
    ) -> Result<(), BailOut> {
        let failed = |error: RootError| self.bail(&crate::run::block::chain(&error));
        self.bench.root.rebuild_for_reload().map_err(failed)?;
        self.lay_out(files, &mut gathered.expander)?;
        gathered.expander.release_ports();
        let pid = server.pid(Duration::from_secs(1)).ok_or_else(|| self.bail("the running server has no pid file"))?;
        let signal = |signal| kill(pid, signal).map_err(|error| self.bail(&format!("signal the server: {error}")));
        signal(Signal::SIGUSR1)?;
        self.wait_for_log();
        signal(Signal::SIGHUP)?;
        if self.block.has("reload_fails") {
            std::thread::sleep(Duration::from_millis(300));
        } else if !self.sees_version() {
            let name = self.block.display_name();
            gathered.recorder.extra_failure(format!("{name} - failed to reload configuration"));
        }
        Ok(())
    }

    /// Waits until the server has opened its log anew, and a moment longer, for its workers.
    fn wait_for_log(&self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.bench.root.error_log().exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(self.pace(false).settle / 3);
    }

    /// Whether the server comes to answer with the configuration just written, and only with that.
    fn sees_version(&self) -> bool {
        let deadline = self.deadline.min(Instant::now() + PATIENCE);
        let mut in_a_row = 0;
        while Instant::now() < deadline {
            if self.told_version().is_some_and(|told| told == self.version.as_bytes()) {
                in_a_row += 1;
                if in_a_row >= ANSWERS {
                    return true;
                }
            } else {
                in_a_row = 0;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        false
    }

    /// The version that the server tells, if it answers.
    fn told_version(&self) -> Option<Vec<u8>> {
        let limit = Some(Duration::from_secs(2));
        let mut stream = TcpStream::connect_timeout(&self.address().ok()?, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)).ok()?;
        stream.write_all(b"GET /ver HTTP/1.0\r\nHost: Test-Nginx\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer).ok()?;
        let body = memchr::memmem::find(&answer, b"\r\n\r\n")? + 4;
        answer.get(body..).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_differ_and_fit_into_a_configuration() {
        let (first, second) = (new_version(), new_version());
        assert_ne!(first, second);
        assert_eq!(first.len(), 10);
        assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
