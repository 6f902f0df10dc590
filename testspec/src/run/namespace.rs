//! A user namespace in which an ordinary user may make networks.
//!
//! Making a network namespace takes a privilege that root has. Where the system lets users have namespaces of their own,
//! a process gets it by entering one: it then has all privileges over what it makes there and none more over
//! anything else. User and group ids stay what they are, so programs that the process starts notice nothing: they
//! have lost those privileges, as any program has that is not root's.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Makes [`netns::enter`](crate::run::netns::enter) work for the threads of this process, if the system allows it. Must be called while the
/// process has one thread. Where it is not allowed nothing changes; blocks then share the machine's network.
pub fn allow_networks() {
    if geteuid().is_root() {
        return;
    }
    // Once the namespace is entered there is no way back, so a process of its own tries first whether it can be
    // furnished: some systems let a user enter one and then refuse the rest.
    if !furnished_elsewhere() {
        return;
    }
    let _ = enter();
}

/// Enters a new user namespace in which the ids are what they were.
fn enter() -> std::io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Whether a process can do it, asked of the system's tool where it exists.
fn furnished_elsewhere() -> bool {
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--net", "--map-root-user", "true"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    match command.status() {
        Ok(status) => status.success(),
        // Without the tool: entering fails cleanly on nearly all systems that forbid it.
        Err(_) => true,
    }
}
