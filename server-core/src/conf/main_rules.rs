//! The directives of the file's top level and of `events { }`.

use std::num::NonZero;

use rsty_diag::Diagnostic;

use super::table::{Arity, Contexts, Rule, rule};
use super::tree::Directive;
use super::value;
use crate::cycle::{Account, CycleConf, EnvironmentVariable, ThreadPool};
use crate::http::conf::Scope;
use crate::log::Level;

type Applied = Result<(), Diagnostic>;

const MAIN: Contexts = Contexts::MAIN;
const EVENTS: Contexts = Contexts::EVENTS;
const ONE: Arity = Arity::Words(1, 1);

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule("daemon", MAIN, Arity::Flag, |s, d| value::set_flag(&mut s.cycle.daemon, d)),
    rule("master_process", MAIN, Arity::Flag, |s, d| value::set_flag(&mut s.cycle.master_process, d)),
    rule("worker_processes", MAIN, ONE, worker_processes),
    rule("error_log", MAIN, Arity::Words(1, Arity::MANY), error_log),
    rule("pid", MAIN, ONE, |s, d| path(|cycle| &mut cycle.pid, s, d)),
    rule("lock_file", MAIN, ONE, |s, d| path(|cycle| &mut cycle.lock_file, s, d)),
    rule("working_directory", MAIN, ONE, |s, d| path(|cycle| &mut cycle.working_directory, s, d)),
    rule("user", MAIN, Arity::Words(1, 2), user),
    rule("env", MAIN, ONE, env),
    rule("worker_rlimit_nofile", MAIN, ONE, |s, d| value::set_number(&mut s.cycle.rlimit_nofile, d)),
    rule("worker_rlimit_core", MAIN, ONE, |s, d| value::set_offset(&mut s.cycle.rlimit_core, d)),
    rule("worker_shutdown_timeout", MAIN, ONE, |s, d| value::set_msec(&mut s.cycle.shutdown_timeout, d)),
    rule("worker_priority", MAIN, ONE, worker_priority),
    rule("worker_cpu_affinity", MAIN, Arity::Words(1, Arity::MANY), worker_cpu_affinity),
    rule("timer_resolution", MAIN, ONE, |s, d| value::set_msec(&mut s.cycle.timer_resolution, d)),
    rule("debug_points", MAIN, ONE, debug_points),
    rule("pcre_jit", MAIN, Arity::Flag, |s, d| value::set_flag(&mut s.cycle.pcre_jit, d)),
    rule("thread_pool", MAIN, Arity::Words(2, 3), thread_pool),
    rule("load_module", MAIN, ONE, load_module),
    rule("ssl_engine", MAIN, ONE, |_, _| Ok(())),
    rule("events", MAIN, Arity::Block(0, 0), events),
    rule("mail", MAIN, Arity::Block(0, 0), not_built_in),
    rule("worker_connections", EVENTS, ONE, worker_connections),
    rule("connection_limit", EVENTS, ONE, connection_limit),
    rule("use", EVENTS, ONE, use_method),
    rule("multi_accept", EVENTS, Arity::Flag, |s, d| value::set_flag(&mut s.cycle.multi_accept, d)),
    rule("accept_mutex", EVENTS, Arity::Flag, |s, d| value::set_flag(&mut s.cycle.accept_mutex, d)),
    rule("accept_mutex_delay", EVENTS, ONE, |s, d| value::set_msec(&mut s.cycle.accept_mutex_delay, d)),
    rule("debug_connection", EVENTS, ONE, |_, _| Ok(())),
    rule("epoll_events", EVENTS, ONE, |_, d| value::set_number(&mut None::<u32>, d)),
    rule("worker_aio_requests", EVENTS, ONE, |_, d| value::set_number(&mut None::<u32>, d)),
];

fn events(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    if std::mem::replace(&mut scope.cycle.has_events, true) {
        return Err(value::duplicate(directive));
    }
    scope.nested(EVENTS, directive)
}

fn worker_connections(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    value::set_with(&mut scope.cycle.worker_connections, directive, |word| {
        let count = value::number(&word.text).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| directive.error_at(word, "invalid_value", format!("invalid number \"{}\"", word.lossy())))
    })
}

fn connection_limit(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    value::set_with(&mut scope.cycle.connection_limit, directive, |word| {
        let count = value::number(&word.text).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
        count.ok_or_else(|| directive.error_at(word, "invalid_value", format!("invalid number \"{}\"", word.lossy())))
    })
}

fn not_built_in(_: &mut Scope<'_>, directive: &Directive) -> Applied {
    let message = format!("\"{}\" is not supported by this server", directive.name());
    Err(directive.error("not_supported", message))
}

fn worker_processes(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    value::set_with(&mut scope.cycle.worker_processes, directive, |word| {
        if word.is("auto") {
            return Ok(processors());
        }
        let count = value::number(&word.text).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid value"))
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn error_log(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let mut log = std::mem::take(&mut scope.cycle.error_log);
    let added = log.add(directive, scope.cycle);
    scope.cycle.error_log = log;
    added
}

fn path(
    slot: fn(&mut CycleConf) -> &mut Option<std::path::PathBuf>,
    scope: &mut Scope<'_>,
    directive: &Directive,
) -> Applied {
    let full = directive.arg(0).map(|word| scope.cycle.full_path(&word.text));
    let slot = slot(scope.cycle);
    if slot.is_some() {
        return Err(value::duplicate(directive));
    }
    *slot = full;
    Ok(())
}

fn user(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    if scope.cycle.user.is_some() {
        return Err(value::duplicate(directive));
    }
    if !nix::unistd::geteuid().is_root() {
        let message = "the \"user\" directive makes sense only if the master process runs with super-user \
                       privileges, ignored";
        let warning = Diagnostic::warning("user_ignored", message).at(&directive.source, directive.name.span);
        scope.cycle.notice(Level::Warn, warning);
        return Ok(());
    }
    let Some(user_word) = directive.arg(0) else { return Err(value::invalid_value(directive)) };
    let group_word = directive.arg(1).unwrap_or(user_word);
    let name = user_word.lossy().into_owned();
    let user = nix::unistd::User::from_name(&name)
        .ok()
        .flatten()
        .ok_or_else(|| directive.error_at(user_word, "unknown_user", format!("getpwnam(\"{name}\") failed")))?;
    let group_name = group_word.lossy();
    let group = nix::unistd::Group::from_name(&group_name)
        .ok()
        .flatten()
        .ok_or_else(|| directive.error_at(group_word, "unknown_group", format!("getgrnam(\"{group_name}\") failed")))?;
    scope.cycle.user = Some(Account { name, user: user.uid.as_raw(), group: group.gid.as_raw() });
    Ok(())
}

fn env(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(word) = directive.arg(0) else { return Err(value::invalid_value(directive)) };
    let mut parts = word.text.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default().into();
    scope.cycle.env.push(EnvironmentVariable { name, value: parts.next().map(Into::into) });
    Ok(())
}

fn worker_priority(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    value::set_with(&mut scope.cycle.priority, directive, |word| {
        let (sign, digits) = match word.text.split_first() {
            Some((b'-', digits)) => (-1, digits),
            Some((b'+', digits)) => (1, digits),
            _ => (1, &*word.text),
        };
        let priority = value::number(digits).and_then(|priority| i32::try_from(sign * priority).ok());
        priority.ok_or_else(|| directive.complaint_at(word, "invalid_value", "invalid number"))
    })
}

fn worker_cpu_affinity(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    const CPUS_MAX: usize = 1024;
    if !scope.cycle.cpu_affinity.is_empty() {
        return Err(value::duplicate(directive));
    }
    let automatic = directive.arg(0).is_some_and(|word| word.is("auto"));
    if automatic && directive.args.len() > 2 {
        let message = "invalid number of arguments in \"worker_cpu_affinity\" directive";
        return Err(directive.error("invalid_argument_count", message));
    }
    let mut masks = Vec::new();
    for word in directive.args.iter().skip(usize::from(automatic)) {
        if word.text.len() > CPUS_MAX {
            let message = format!("\"worker_cpu_affinity\" supports up to {CPUS_MAX} CPUs only");
            return Err(directive.error_at(word, "invalid_value", message));
        }
        let mut mask = Vec::new();
        for &byte in word.text.iter().rev().filter(|byte| **byte != b' ') {
            if !matches!(byte, b'0' | b'1') {
                let message = format!("invalid character \"{}\" in \"worker_cpu_affinity\"", char::from(byte));
                return Err(directive.error_at(word, "invalid_value", message));
            }
            mask.push(byte == b'1');
        }
        masks.push(mask);
    }
    if automatic {
        let allowed = masks.pop().unwrap_or_else(|| vec![true; processors()]);
        let one_each = |cpu: usize| (0..=cpu).map(|bit| bit == cpu).collect();
        masks = allowed.iter().enumerate().filter(|(_, on)| **on).map(|(cpu, _)| one_each(cpu)).collect();
    }
    scope.cycle.cpu_affinity = masks;
    Ok(())
}

fn debug_points(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    value::set_enum(&mut scope.cycle.debug_points, directive, &[("stop", false), ("abort", true)])
}

fn thread_pool(scope: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(name) = directive.arg(0) else { return Err(value::invalid_value(directive)) };
    if scope.cycle.thread_pools.iter().any(|pool| pool.name == name.text) {
        let message = format!("duplicate thread pool \"{}\"", name.lossy());
        return Err(directive.error_at(name, "duplicate_directive", message));
    }
    let mut pool = ThreadPool { name: name.text.clone(), threads: 0, max_queue: 65536 };
    for word in directive.args.iter().skip(1) {
        let (slot, digits) = if let Some(digits) = word.text.strip_prefix(b"threads=") {
            (&mut pool.threads, digits)
        } else if let Some(digits) = word.text.strip_prefix(b"max_queue=") {
            (&mut pool.max_queue, digits)
        } else {
            continue;
        };
        let number = value::number(digits).and_then(|number| usize::try_from(number).ok());
        *slot = number.filter(|number| *number > 0).ok_or_else(|| {
            let key = String::from_utf8_lossy(&word.text).split('=').next().unwrap_or_default().to_owned();
            let message = match key.as_str() {
                "threads" => format!("invalid threads value \"{}\"", word.lossy()),
                _ => format!("invalid max_queue value \"{}\"", word.lossy()),
            };
            directive.error_at(word, "invalid_value", message)
        })?;
    }
    if pool.threads == 0 {
        let message = "\"thread_pool\" must have \"threads\" parameter";
        return Err(directive.error("missing_parameter", message));
    }
    scope.cycle.thread_pools.push(pool);
    Ok(())
}

/// All modules are built in: what a configuration loads is there already.
fn load_module(_: &mut Scope<'_>, _: &Directive) -> Applied {
    Ok(())
}

fn use_method(_: &mut Scope<'_>, directive: &Directive) -> Applied {
    let Some(word) = directive.arg(0) else { return Err(value::invalid_value(directive)) };
    if matches!(&*word.text, b"epoll" | b"poll" | b"select") {
        return Ok(());
    }
    let message = format!("invalid event type \"{}\"", word.lossy());
    Err(directive.error_at(word, "invalid_value", message))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use rsty_diag::Source;

    use super::*;
    use crate::conf::parser::parse_source;
    use crate::http::conf::{LocConf, MainConf, SrvConf};

    fn read(text: &str) -> Result<CycleConf, String> {
        let parsed = parse_source(Source::new("c", text), Path::new("/")).complete().unwrap();
        let mut cycle = CycleConf { prefix: "/p/".into(), ..CycleConf::default() };
        let (mut main, mut srv, mut loc) = (MainConf::default(), SrvConf::default(), LocConf::default());
        for directive in &parsed.directives {
            let mut scope = Scope { cycle: &mut cycle, main: &mut main, srv: &mut srv, loc: &mut loc, context: MAIN };
            scope.apply(directive).map_err(|error| error.message)?;
        }
        Ok(cycle)
    }

    fn error(text: &str) -> String {
        read(text).err().unwrap_or_default()
    }

    #[test]
    fn settings_are_recorded() {
        let cycle = read(
            "worker_processes 3; daemon OFF; pid logs/x.pid; env A; env B=c=d; worker_priority -5;
             worker_cpu_affinity 01 10; thread_pool io threads=4 max_queue=9; worker_shutdown_timeout 1500ms;
             events { worker_connections 64; use epoll; }",
        );
        let cycle = cycle.unwrap();
        assert_eq!((cycle.worker_count(), cycle.daemon), (3, Some(false)));
        assert_eq!(cycle.pid.as_deref(), Some(Path::new("/p/logs/x.pid")));
        assert_eq!(cycle.env[1].value.as_deref(), Some(&b"c=d"[..]));
        assert_eq!((cycle.priority, cycle.worker_connections), (Some(-5), Some(64)));
        assert_eq!(cycle.cpu_affinity, [[true, false], [false, true]]);
        assert_eq!(cycle.shutdown_timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn each_error_has_nginx_text() {
        let flag = "invalid value \"x\" in \"daemon\" directive, it must be \"on\" or \"off\"";
        assert_eq!(error("daemon x;"), flag);
        assert_eq!(error("daemon on; daemon on;"), "\"daemon\" directive is duplicate");
        assert_eq!(error("events { } events { }"), "\"events\" directive is duplicate");
        assert_eq!(error("worker_processes x;"), "\"worker_processes\" directive invalid value");
        assert_eq!(error("worker_rlimit_nofile 1k;"), "\"worker_rlimit_nofile\" directive invalid number");
        assert_eq!(error("worker_shutdown_timeout 1x;"), "\"worker_shutdown_timeout\" directive invalid value");
        assert_eq!(error("error_log x y;"), "invalid log level \"y\"");
        assert_eq!(error("error_log x info warn;"), "duplicate log level \"warn\"");
        assert_eq!(error("events { use kqueue; }"), "invalid event type \"kqueue\"");
        assert_eq!(error("thread_pool a max_queue=1;"), "\"thread_pool\" must have \"threads\" parameter");
        assert_eq!(error("debug_points no;"), "invalid value \"no\"");
    }
}
