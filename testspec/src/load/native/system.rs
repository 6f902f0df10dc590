//! The system: `POSIX`, `Time::HiRes`, `Sys::Hostname`, `Socket`, `IO::Socket::INET`.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::{HashMap, Object, Value};
use crate::perl::{Calendar, Interpreter, NativeModule, Outcome, Want};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "POSIX",
        parents: &[],
        functions: &[
            ("INT_MAX", |_, _, _| one(i64::from(i32::MAX)), Some("")),
            ("LONG_MAX", |_, _, _| one(i64::MAX), Some("")),
            ("UINT_MAX", |_, _, _| one(i64::from(u32::MAX)), Some("")),
            ("WNOHANG", |_, _, _| one(1), Some("")),
            ("ceil", |_, arguments, _| one(Value::Num(first(&arguments).to_number().ceil())), Some("$")),
            ("floor", |_, arguments, _| one(Value::Num(first(&arguments).to_number().floor())), Some("$")),
            (
                "fmod",
                |_, arguments, _| one(Value::Num(first(&arguments).to_number() % number(&arguments, 1))),
                Some("$$"),
            ),
            ("getpid", |_, _, _| one(i64::from(std::process::id())), Some("")),
            (
                "pow",
                |_, arguments, _| one(Value::Num(first(&arguments).to_number().powf(number(&arguments, 1)))),
                Some("$$"),
            ),
            ("strftime", strftime, None),
        ],
        exports: &["INT_MAX", "LONG_MAX", "UINT_MAX", "WNOHANG", "ceil", "floor", "fmod", "getpid", "pow", "strftime"],
        setup: None,
    },
    NativeModule {
        name: "Time::HiRes",
        parents: &[],
        functions: &[
            ("gettimeofday", time_of_day, Some("")),
            ("sleep", |_, arguments, _| pause(first(&arguments).to_number()), Some("$")),
            ("time", |_, _, _| one(Value::Num(clock())), Some("")),
            ("tv_interval", interval, None),
            ("usleep", |_, arguments, _| pause(first(&arguments).to_number() / 1e6), Some("$")),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Sys::Hostname",
        parents: &[],
        functions: &[("hostname", host_name, Some(""))],
        exports: &["hostname"],
        setup: None,
    },
    NativeModule {
        name: "Socket",
        parents: &[],
        functions: &[
            ("AF_INET", |_, _, _| one(2), Some("")),
            ("SOCK_DGRAM", |_, _, _| one(2), Some("")),
            ("SOCK_STREAM", |_, _, _| one(1), Some("")),
            ("inet_aton", address_of, Some("$")),
            ("inet_ntoa", text_of_address, Some("$")),
        ],
        exports: &["AF_INET", "SOCK_DGRAM", "SOCK_STREAM", "inet_aton", "inet_ntoa"],
        setup: None,
    },
    NativeModule {
        name: "IO::Socket::INET",
        parents: &[],
        functions: &[
            ("close", |_, _, _| one(1), None),
            ("new", new_socket, None),
            ("shutdown", |_, _, _| one(1), None),
            ("sockport", |_, arguments, _| one(port_of(&first(&arguments))), None),
        ],
        exports: &[],
        setup: None,
    },
];

fn number(arguments: &[Value], at: usize) -> f64 {
    arguments.get(at).map_or(0.0, Value::to_number)
}

/// Seconds since 1970.
fn clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn time_of_day(_: &mut Interpreter, _: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    if want != Want::List {
        return one(Value::Num(clock()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(vec![Value::Int(now.as_secs() as i64), Value::Int(i64::from(now.subsec_micros()))])
}

/// `tv_interval [SECONDS, MICROSECONDS], [SECONDS, MICROSECONDS]`
fn interval(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let seconds = |at: usize| match arguments.get(at) {
        Some(Value::Array(parts)) => number(&parts.borrow(), 0) + number(&parts.borrow(), 1) / 1e6,
        _ => clock(),
    };
    one(Value::Num(seconds(1) - seconds(0)))
}

fn pause(seconds: f64) -> Outcome<Vec<Value>> {
    let seconds = seconds.clamp(0.0, 10.0);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    one(Value::Num(seconds))
}

fn host_name(_: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let name = nix::unistd::gethostname().unwrap_or_default();
    one(name.to_string_lossy().as_ref())
}

fn address_of(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let name = first(&arguments).to_text();
    let found = (name.as_str(), 0).to_socket_addrs().ok();
    let address = found.into_iter().flatten().find_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(Value::str(address.octets())),
        IpAddr::V6(_) => None,
    });
    one(address.unwrap_or_default())
}

fn text_of_address(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let octets: Option<[u8; 4]> = first(&arguments).to_bytes().as_slice().try_into().ok();
    match octets {
        Some(octets) => one(Ipv4Addr::from(octets).to_string().as_str()),
        None => Err(interpreter.die("Bad arg length for Socket::inet_ntoa, should be 4")),
    }
}

/// `IO::Socket::INET->new(…)` as prologues use it: to find a free port, and to see whether a service is there. The
/// connection is closed again at once.
fn new_socket(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let options = arguments.get(1..).unwrap_or_default();
    let option = |name: &str| {
        let mut pairs = options.chunks_exact(2);
        pairs.find(|pair| pair.first().is_some_and(|key| key.to_text() == name)).and_then(|pair| pair.get(1))
    };
    let text = |name: &str| option(name).map(Value::to_text);
    if text("Proto").is_some_and(|name| name != "tcp") {
        return Err(interpreter.die("IO::Socket::INET: only TCP is supported"));
    }
    let address = |side: &str, default: &str| {
        let host = text(&format!("{side}Addr")).or_else(|| text(&format!("{side}Host")));
        let host = host.unwrap_or_else(|| default.to_owned());
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().ok()),
            None => (host, None),
        };
        let port = port.or_else(|| text(&format!("{side}Port"))?.parse().ok()).unwrap_or(0_u16);
        (host, port).to_socket_addrs().ok().and_then(|mut found| found.next())
    };
    let port = if option("Listen").is_some() {
        address("Local", "0.0.0.0").and_then(|address| Some(TcpListener::bind(address).ok()?.local_addr().ok()?.port()))
    } else {
        let limit = text("Timeout").and_then(|text| text.parse().ok()).unwrap_or(3.0_f64).clamp(0.01, 10.0);
        let limit = Duration::from_secs_f64(limit);
        let connect = |address| TcpStream::connect_timeout(&address, limit).ok();
        address("Peer", "127.0.0.1").and_then(|address| Some(connect(address)?.local_addr().ok()?.port()))
    };
    let Some(port) = port else { return one(Value::Undef) };
    let mut fields = HashMap::default();
    fields.insert(b"port", Value::Int(i64::from(port)));
    let target = Value::Hash(Rc::new(RefCell::new(fields)));
    one(Value::Object(Rc::new(Object { class: "IO::Socket::INET".to_owned(), target })))
}

fn port_of(socket: &Value) -> Value {
    match socket {
        Value::Object(object) => match &object.target {
            Value::Hash(fields) => fields.borrow().get(b"port").cloned().unwrap_or_default(),
            _ => Value::Undef,
        },
        _ => Value::Undef,
    }
}

fn strftime(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let field = |at: usize| arguments.get(at).map_or(0, Value::to_int);
    let calendar = Calendar {
        second: field(1),
        minute: field(2),
        hour: field(3),
        day: field(4),
        month: field(5).clamp(0, 11),
        year: field(6),
        weekday: field(7),
        yearday: field(8),
    };
    one(calendar.format(&first(&arguments).to_bytes()).as_str())
}
