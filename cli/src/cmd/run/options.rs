//! The command line of `rsty run`: the options of OpenResty's `resty`.

use std::ffi::OsString;
use std::net::IpAddr;

/// The command line.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) help: bool,
    /// `-V`.
    pub(super) version: bool,
    pub(super) dump_conf: bool,
    /// Code of `-e`, `-l` and `-j`, in order.
    pub(super) pieces: Vec<String>,
    pub(super) include_dirs: Vec<String>,
    pub(super) connections: Option<u32>,
    pub(super) shared_dicts: Vec<String>,
    pub(super) http_conf: Vec<String>,
    pub(super) http_includes: Vec<String>,
    pub(super) main_conf: Vec<String>,
    pub(super) main_includes: Vec<String>,
    pub(super) stream_conf: Vec<String>,
    pub(super) name_servers: Vec<String>,
    pub(super) resolve_ipv6: bool,
    pub(super) log_level: Option<String>,
    /// The program, with its arguments, that is to run this one.
    pub(super) runner: Vec<String>,
    /// The Lua file; `-` is the standard input.
    pub(super) file: Option<String>,
    /// Everything behind it.
    pub(super) words: Vec<String>,
}

/// The levels of `--errlog-level`.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];

/// Reads the arguments behind `rsty run`.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter().map(text);
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        if argument == "--" {
            break;
        }
        if argument == "-" || !argument.starts_with('-') {
            // Behind `-e` there are only the script's words.
            if options.pieces.is_empty() || options.pieces.iter().all(|piece| !is_script(piece)) {
                options.file = Some(argument);
            } else {
                options.words.push(argument);
            }
            break;
        }
        let (name, attached) = split(&argument);
        if options.set_flag(&name) {
            continue;
        }
        let value = match attached {
            Some(value) => value,
            None => match arguments.next() {
                Some(value) if takes_value(&name) => value?,
                None if takes_value(&name) => return Err(format!("option {name} takes an argument but found none")),
                _ => return Err(unknown(&name)),
            },
        };
        options.set(&name, value)?;
    }
    for argument in arguments {
        let argument = argument?;
        match (&options.file, options.pieces.is_empty()) {
            (None, true) => options.file = Some(argument),
            _ => options.words.push(argument),
        }
    }
    Ok(options)
}

/// Libraries and the compiler's switches stand before a file; `-e` takes its place.
fn is_script(piece: &str) -> bool {
    !piece.starts_with(LIBRARY)
}

/// How the code of `-l` and `-j` begins.
const LIBRARY: &str = "require(";

fn text(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|word| format!("\"{}\" is not UTF-8", word.to_string_lossy()))
}

/// An option's name, and the value that is attached to it.
fn split(argument: &str) -> (String, Option<String>) {
    if argument.starts_with("--") {
        return match argument.split_once('=') {
            Some((name, value)) => (name.into(), Some(value.into())),
            None => (argument.into(), None),
        };
    }
    let end = argument.char_indices().nth(2).map_or(argument.len(), |(at, _)| at);
    let (name, rest) = argument.split_at(end);
    let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
    (name.into(), value)
}

fn takes_value(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "-I",
        "-e",
        "-l",
        "-j",
        "-c",
        "--ns",
        "--shdict",
        "--http-conf",
        "--http-include",
        "--main-conf",
        "--main-include",
        "--stream-conf",
        "--errlog-level",
        "--user-runner",
        "--gdb-opts",
        "--valgrind-opts",
        "--stap-opts",
        "--nginx",
    ];
    NAMES.contains(&name) || name == "--load-module"
}

fn unknown(name: &str) -> String {
    format!("unknown option {name}")
}

impl Options {
    /// Takes an option without a value.
    fn set_flag(&mut self, name: &str) -> bool {
        match name {
            "-h" | "--help" => self.help = true,
            "-v" | "-V" => self.version = true,
            "--dump-nginx-conf" => self.dump_conf = true,
            "--resolve-ipv6" => self.resolve_ipv6 = true,
            // There is no stream block unless one is asked for.
            "--no-stream" => {}
            "--rr" => self.runner = words("rr record"),
            "--gdb" => self.runner = words("gdb --args"),
            "--valgrind" => self.runner = words("valgrind"),
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "-I" => self.include_dirs.push(value),
            "-e" => self.pieces.push(value),
            "-l" => self.pieces.push(format!("{LIBRARY}{})", super::lua_string(&value))),
            "-j" => {
                let code = match value.as_str() {
                    "v" => "require('jit.v').on()",
                    "dump" => "require('jit.dump').on()",
                    "off" => "require('jit').off()",
                    _ => return Err(format!("unknown -j option value: {value} (v, dump or off)")),
                };
                self.pieces.insert(0, code.into());
            }
            "-c" => {
                let wrong = || format!("option -c value must be a number but found '{value}'");
                self.connections = Some(value.parse().map_err(|_| wrong())?);
            }
            "--ns" => {
                let address = value.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
                let address =
                    address.map_err(|_| format!("invalid --ns option value: {value} (expecting an IP address)"))?;
                self.name_servers.push(match address {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                });
            }
            "--shdict" => {
                if !is_shared_dict(&value) {
                    return Err(format!("invalid --shdict option value: {value} (expecting NAME SIZE)"));
                }
                self.shared_dicts.push(value);
            }
            "--http-conf" => self.http_conf.push(value),
            "--http-include" => self.http_includes.push(value),
            "--main-conf" => self.main_conf.push(value),
            "--main-include" => self.main_includes.push(value),
            "--stream-conf" => self.stream_conf.push(value),
            "--errlog-level" if LEVELS.contains(&value.as_str()) => self.log_level = Some(value),
            "--errlog-level" => return Err(format!("bad --errlog-level option value: {value}")),
            "--user-runner" => self.runner = words(&value),
            "--gdb-opts" => self.runner = words(&format!("gdb {value} --args")),
            "--valgrind-opts" => self.runner = words(&format!("valgrind {value}")),
            "--load-module" => return Err("--load-module: modules are built in, others can't be loaded".into()),
            "--stap-opts" | "--stap" => return Err(format!("{name} is not supported; use --user-runner")),
            "--nginx" => return Err("--nginx: the server is rsty itself".into()),
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

/// The words of a command line, which may be in quotation marks.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (Some(mark), _) if character == mark => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Whether a text is a name and a size.
fn is_shared_dict(text: &str) -> bool {
    let mut parts = text.split_whitespace();
    let (Some(name), Some(size), None) = (parts.next(), parts.next(), parts.next()) else { return false };
    let digits = size.trim_end_matches(['k', 'K', 'm', 'M']);
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !digits.is_empty()
        && size.len() <= digits.len() + 1
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Options, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn words_behind_code_or_a_file_are_the_script_s() {
        let options = parsed(&["-e", "x()", "a", "-b", "--", "c"]).unwrap();
        assert_eq!((options.file, options.words), (None, words("a -b -- c")));
        let options = parsed(&["-I", "lib", "tool.lua", "-e", "y"]).unwrap();
        assert_eq!((options.file.as_deref(), options.words), (Some("tool.lua"), words("-e y")));
        let options = parsed(&["-e", "x()", "--", "-a"]).unwrap();
        assert_eq!((options.file, options.words), (None, words("-a")));
        let options = parsed(&["--", "-odd.lua", "a"]).unwrap();
        assert_eq!((options.file.as_deref(), options.words), (Some("-odd.lua"), words("a")));
    }

    #[test]
    fn a_library_comes_before_a_file() {
        let options = parsed(&["-l", "cjson", "tool.lua"]).unwrap();
        assert_eq!(options.file.as_deref(), Some("tool.lua"));
        assert_eq!(options.pieces, [r#"require("cjson")"#]);
        assert_eq!(parsed(&["-jv", "x.lua"]).unwrap().pieces, ["require('jit.v').on()"]);
    }

    #[test]
    fn values_are_attached_or_follow() {
        let options = parsed(&["-Ia", "-I=b", "-I", "c", "-c9", "--shdict=d 1m", "--ns", "127.0.0.1"]).unwrap();
        assert_eq!(options.include_dirs, ["a", "b", "c"]);
        assert_eq!((options.connections, options.shared_dicts), (Some(9), vec!["d 1m".to_owned()]));
        assert_eq!(options.name_servers, ["127.0.0.1"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, message) in [
            (&["-e"][..], "option -e takes an argument but found none"),
            (&["--wat"], "unknown option --wat"),
            (&["-x", "y"], "unknown option -x"),
            (&["-c", "many"], "option -c value must be a number but found 'many'"),
            (&["--shdict", "d"], "invalid --shdict option value: d (expecting NAME SIZE)"),
            (&["--ns", "here"], "invalid --ns option value: here (expecting an IP address)"),
            (&["-j", "x"], "unknown -j option value: x (v, dump or off)"),
            (&["--errlog-level", "loud"], "bad --errlog-level option value: loud"),
        ] {
            assert_eq!(parsed(arguments).unwrap_err(), message);
        }
    }

    #[test]
    fn a_runner_s_words_may_be_quoted() {
        assert_eq!(words("strace -o 'a b' \"\" x"), ["strace", "-o", "a b", "", "x"]);
    }
}
