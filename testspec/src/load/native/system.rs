//! Small standard modules: working directory, paths, times, digests.

use std::path::{Component, Path, PathBuf};

use md5::Digest as _;

use crate::model::Value;
use crate::perl::{Calendar, Interpreter, NativeModule, Outcome, Want, now};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Cwd",
        parents: &[],
        functions: &[
            ("abs_path", real_path, Some(";$")),
            ("cwd", cwd, Some("")),
            ("getcwd", cwd, Some("")),
            ("realpath", real_path, Some(";$")),
        ],
        exports: &["cwd", "getcwd"],
        setup: None,
    },
    NativeModule {
        name: "File::Basename",
        parents: &[],
        functions: &[("basename", basename, None), ("dirname", dirname, None)],
        exports: &["basename", "dirname"],
        setup: None,
    },
    NativeModule {
        name: "FindBin",
        parents: &[],
        functions: &[],
        exports: &[],
        setup: Some(|interpreter| {
            let file = interpreter.global("main::0").to_bytes();
            let path = interpreter.path(&file);
            let real = path.canonicalize().unwrap_or_else(|_missing| path.clone());
            for (path, folder, name) in [(&path, "Bin", "Script"), (&real, "RealBin", "RealScript")] {
                interpreter.set_global(&format!("FindBin::{folder}"), path.parent().map_or(Value::Undef, bytes_of));
                let file = path.file_name().map_or(Value::Undef, |name| bytes_of(Path::new(name)));
                interpreter.set_global(&format!("FindBin::{name}"), file);
            }
            Ok(())
        }),
    },
    NativeModule {
        name: "File::Spec",
        parents: &[],
        functions: &[
            ("catdir", |_, arguments, _| one(catenated(arguments.get(1..).unwrap_or_default()).as_str()), None),
            ("catfile", |_, arguments, _| one(catenated(arguments.get(1..).unwrap_or_default()).as_str()), None),
            ("curdir", |_, _, _| one("."), None),
            ("rel2abs", relative_to_absolute, None),
            ("tmpdir", |_, _, _| one("/tmp"), None),
            ("updir", |_, _, _| one(".."), None),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "File::Spec::Functions",
        parents: &[],
        functions: &[
            ("catdir", |_, arguments, _| one(catenated(&arguments).as_str()), None),
            ("catfile", |_, arguments, _| one(catenated(&arguments).as_str()), None),
        ],
        exports: &["catdir", "catfile"],
        setup: None,
    },
    NativeModule {
        name: "File::Path",
        parents: &[],
        functions: &[
            ("make_path", make_path, None),
            ("mkpath", make_path, None),
            ("remove_tree", remove_tree, None),
            ("rmtree", remove_tree, None),
        ],
        exports: &["mkpath", "rmtree", "make_path", "remove_tree"],
        setup: None,
    },
    NativeModule {
        name: "POSIX",
        parents: &[],
        functions: &[
            ("ceil", |_, arguments, _| one(Value::Num(first(&arguments).to_number().ceil())), Some("$")),
            ("floor", |_, arguments, _| one(Value::Num(first(&arguments).to_number().floor())), Some("$")),
            ("strftime", strftime, None),
        ],
        exports: &["ceil", "floor", "strftime"],
        setup: None,
    },
    NativeModule {
        name: "Time::HiRes",
        parents: &[],
        functions: &[("sleep", sleep, Some("$")), ("time", |_, _, _| one(now()), Some(""))],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "List::Util",
        parents: &[],
        functions: &[
            ("max", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a > b)]), None),
            ("min", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a < b)]), None),
            ("shuffle", |_, arguments, _| Ok(arguments), None),
            ("sum", |_, arguments, _| one(Value::Num(arguments.iter().map(Value::to_number).sum())), None),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Scalar::Util",
        parents: &[],
        functions: &[
            (
                "blessed",
                |_, arguments, _| {
                    Ok(vec![match first(&arguments) {
                        Value::Object(object) => object.class.as_str().into(),
                        _ => Value::Undef,
                    }])
                },
                Some("$"),
            ),
            ("looks_like_number", looks_like_number, Some("$")),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Digest::MD5",
        parents: &[],
        functions: &[
            ("md5", |_, arguments, _| one(Value::str(md5::Md5::digest(joined(&arguments)).to_vec())), None),
            ("md5_hex", |_, arguments, _| one(hex(&md5::Md5::digest(joined(&arguments))).as_str()), None),
        ],
        exports: &["md5", "md5_hex"],
        setup: None,
    },
    NativeModule {
        name: "Digest::SHA",
        parents: &[],
        functions: &[
            ("sha1", |_, arguments, _| one(Value::str(sha1::Sha1::digest(joined(&arguments)).to_vec())), None),
            ("sha1_hex", |_, arguments, _| one(hex(&sha1::Sha1::digest(joined(&arguments))).as_str()), None),
        ],
        exports: &["sha1", "sha1_hex"],
        setup: None,
    },
    NativeModule {
        name: "MIME::Base64",
        parents: &[],
        functions: &[("decode_base64", decode_base64, Some("$")), ("encode_base64", encode_base64, Some("$;$"))],
        exports: &["decode_base64", "encode_base64"],
        setup: None,
    },
    NativeModule {
        name: "URI::Escape",
        parents: &[],
        functions: &[("uri_escape", uri_escape, None), ("uri_unescape", uri_unescape, None)],
        exports: &["uri_escape", "uri_unescape"],
        setup: None,
    },
];

fn joined(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_bytes().to_vec()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes_of(path: &Path) -> Value {
    use std::os::unix::ffi::OsStrExt as _;
    Value::str(path.as_os_str().as_bytes())
}

fn cwd(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    one(bytes_of(interpreter.host.working_directory()))
}

fn real_path(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = interpreter.path(&arguments.first().map(Value::to_bytes).unwrap_or_default());
    Ok(vec![match path.canonicalize() {
        Ok(path) => bytes_of(&path),
        // The last part need not exist.
        Err(_) => match (path.parent().and_then(|parent| parent.canonicalize().ok()), path.file_name()) {
            (Some(parent), Some(name)) => bytes_of(&parent.join(name)),
            _ => Value::Undef,
        },
    }])
}

fn basename(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_text();
    let mut name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    for suffix in arguments.iter().skip(1) {
        let suffix = suffix.to_text();
        if name != suffix {
            name = name.strip_suffix(suffix.as_str()).unwrap_or(name);
        }
    }
    one(name)
}

fn dirname(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = first(&arguments).to_text();
    let trimmed = path.trim_end_matches('/');
    one(match trimmed.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory.trim_end_matches('/'),
        None if trimmed.is_empty() && path.starts_with('/') => "/",
        None => ".",
    })
}

/// Parts joined with `/` and made canonical: no `//`, no `/./`, but `..` kept.
fn catenated(parts: &[Value]) -> String {
    let joined = parts.iter().map(Value::to_text).collect::<Vec<_>>().join("/");
    let path: PathBuf = Path::new(&joined).components().filter(|part| !matches!(part, Component::CurDir)).collect();
    let text = path.to_string_lossy().into_owned();
    if text.is_empty() && !joined.is_empty() { ".".to_owned() } else { text }
}

fn relative_to_absolute(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let path = interpreter.path(&arguments.get(1).map(Value::to_bytes).unwrap_or_default());
    one(catenated(&[bytes_of(&path)]).as_str())
}

fn make_path(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let paths = arguments.iter().filter(|value| !matches!(value, Value::Hash(_)));
    let mut made = 0;
    for path in paths.map(|value| interpreter.path(&value.to_bytes())) {
        interpreter.host.may_write(&path).map_err(|message| interpreter.die(message))?;
        made += usize::from(std::fs::create_dir_all(path).is_ok());
    }
    one(made as i64)
}

fn remove_tree(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut removed = 0;
    for argument in arguments.iter().filter(|value| !matches!(value, Value::Hash(_))) {
        let path = interpreter.path(&argument.to_bytes());
        // Only below the working directory: a mistake in a spec must not cost a machine.
        let is_inside = path.canonicalize().is_ok_and(|path| path.starts_with(interpreter.host.working_directory()));
        if is_inside && std::fs::remove_dir_all(path).is_ok() {
            removed += 1;
        }
    }
    one(removed)
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

fn sleep(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let seconds = first(&arguments).to_number().clamp(0.0, 10.0);
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    one(1)
}

fn extreme(values: &[Value], better: fn(f64, f64) -> bool) -> Value {
    let best =
        values.iter().reduce(|best, value| if better(value.to_number(), best.to_number()) { value } else { best });
    best.cloned().unwrap_or_default()
}

fn looks_like_number(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let text = first(&arguments).to_text();
    one(Value::bool(text.trim_start().trim_end_matches('\n').parse::<f64>().is_ok()))
}

fn encode_base64(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(first(&arguments).to_bytes().as_slice());
    let end = arguments.get(1).map_or_else(|| "\n".to_owned(), Value::to_text);
    let lines: Vec<&str> = encoded.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    one(lines.iter().flat_map(|line| [*line, end.as_str()]).collect::<String>().as_str())
}

fn decode_base64(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    use base64::Engine as _;
    let is_digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits: Vec<u8> = first(&arguments).to_bytes().iter().filter(is_digit).copied().collect();
    one(Value::str(base64::engine::general_purpose::STANDARD_NO_PAD.decode(digits).unwrap_or_default()))
}

fn uri_escape(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut out = String::new();
    for &byte in first(&arguments).to_bytes().iter() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    one(out.as_str())
}

fn uri_unescape(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let text = first(&arguments).to_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    one(Value::str(out))
}
