//! `rsty run`: Lua from the command line, with the whole API, as OpenResty's `resty` runs it.
//!
//! The script runs in a timer of a server that listens nowhere. The configuration is made here and never written to
//! disk; the two Lua files beside this one connect the script to the terminal.

mod options;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rsty_diag::Source;
use rsty_diag::render::{self, Style};
use rsty_server_core::cycle::Identity;
use rsty_server_core::process::{self, ConfSource, Launch, Started};
use rsty_server_core::version;

use self::options::Options;
use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty run`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// Options of `resty`, a Lua file or -e CODE, and the script's arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|FILE.lua|ARGUMENT")]
    options: Vec<OsString>,
}

const HELP: &str = "\
Usage: rsty run [OPTIONS] FILE.lua [ARGUMENTS]
       rsty run [OPTIONS] -e CODE [ARGUMENTS]

Runs Lua with the whole API of the server: timers, cosockets, shared dictionaries, threads.
ARGUMENTS are in the table `arg` and in `...`. The exit status is the script's: 0 at its end, 1 after
an error, else what os.exit() or ngx.exit() was given. FILE `-` is the standard input.

  -e code             run this; several pieces run in order
  -l library          require this first
  -I folder           look for modules here as well
  -j v|dump|off       show what the JIT compiler does, or turn it off
  -c number           connections at most (default: 64)
  --shdict 'NAME SIZE'    a shared dictionary
  --ns address        a name server (default: those of /etc/resolv.conf)
  --resolve-ipv6      resolve names to IPv6 addresses as well
  --errlog-level level    what is logged to stderr (default: warn)
  --http-conf text, --http-include file
  --main-conf text, --main-include file
  --stream-conf text  more configuration, in the block of that name
  --user-runner command, --gdb, --gdb-opts options, --valgrind, --valgrind-opts options, --rr
                      run under another program
  --dump-nginx-conf   print the configuration instead of running
  -V                  print the version and the features

Examples:
  rsty run -e 'ngx.say(ngx.now())'
  rsty run -I lib --shdict 'cache 1m' tool.lua one two
";

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    let arguments = args.options.clone();
    let options = match options::parse(args.options) {
        Ok(options) => options,
        Err(message) => return misused(&message),
    };
    if options.help {
        ui::answer(HELP);
        return Exit::Fine.into();
    }
    if options.version {
        ui::answer(&version::long(Identity::Rsty));
        return Exit::Fine.into();
    }
    if options.file.is_none() && options.pieces.is_empty() {
        return misused("there is neither a Lua file nor -e with code");
    }
    let conf = match configuration(&options) {
        Ok(conf) => conf,
        Err(message) => return misused(&message),
    };
    if options.dump_conf {
        ui::answer(&conf);
        return Exit::Fine.into();
    }
    if !options.runner.is_empty() && std::env::var_os(RUNS_UNDER).is_none() {
        return run_under(&options.runner, &arguments);
    }
    start(conf)
}

/// Set for the process that a runner starts, so that it doesn't start a runner again.
const RUNS_UNDER: &str = "RSTY_RUNS_UNDER";

fn misused(message: &str) -> ExitCode {
    ui::error(message);
    ui::talk("Try `rsty run --help`.\n");
    Exit::Usage.into()
}

/// Becomes the runner, which starts this program again.
fn run_under(runner: &[String], arguments: &[OsString]) -> ExitCode {
    let (Some((program, words)), Ok(own)) = (runner.split_first(), std::env::current_exe()) else {
        return misused("the runner has no name");
    };
    let mut command = Command::new(program);
    let error = command.args(words).arg(own).arg("run").args(arguments).env(RUNS_UNDER, "1").exec();
    ui::error(&format!("failed to run {program}: {error}"));
    Exit::ToolFailure.into()
}

fn start(conf: String) -> ExitCode {
    let prefix = match std::env::current_dir() {
        Ok(folder) => folder,
        Err(error) => {
            ui::error(&format!("the current folder is not readable: {error}"));
            return Exit::ToolFailure.into();
        }
    };
    let launch = Launch {
        identity: Identity::Rsty,
        prefix,
        conf: ConfSource::Text(Source::new("rsty run", conf)),
        error_log: None,
        globals: Vec::new(),
        arguments: std::env::args_os().collect(),
        watch: false,
    };
    match process::start(&launch, |_| {}) {
        Ok(Started::Ended(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(Started::InBackground) => Exit::Fine.into(),
        Err(failure) => {
            if let Some(diagnostic) = &failure.diagnostic {
                ui::talk(&format!("{}\n", render::full(diagnostic, Style::Coloured)));
            }
            Exit::Usage.into()
        }
    }
}

/// The configuration of a server that only runs the script.
fn configuration(options: &Options) -> Result<String, String> {
    let mut conf = String::from("daemon off;\nmaster_process off;\n");
    let level = options.log_level.as_deref().unwrap_or("warn");
    let connections = options.connections.unwrap_or(64);
    push(&mut conf, format_args!("error_log stderr {level};\nevents {{ worker_connections {connections}; }}\n"));
    for (name, _) in std::env::vars_os() {
        // A name that is not text can't be written, nor asked for in a script.
        if let Some(name) = name.to_str().filter(|name| !name.is_empty()) {
            push(&mut conf, format_args!("env {};\n", conf_word(name)));
        }
    }
    more(&mut conf, &options.main_conf, &options.main_includes)?;
    let path = package_path(&options.include_dirs)?;
    let name_servers = name_servers(options);
    let resolver = match (name_servers.is_empty(), options.resolve_ipv6) {
        (true, _) => String::new(),
        (false, true) => format!("resolver {};\n", name_servers.join(" ")),
        (false, false) => format!("resolver {} ipv6=off;\n", name_servers.join(" ")),
    };
    if !options.stream_conf.is_empty() {
        push(&mut conf, format_args!("stream {{\n{resolver}{path}"));
        more(&mut conf, &options.stream_conf, &[])?;
        conf.push_str("}\n");
    }
    push(&mut conf, format_args!("http {{\naccess_log off;\nlua_socket_log_errors off;\n"));
    push(&mut conf, format_args!("lua_regex_cache_max_entries 40960;\n{resolver}{path}"));
    for dict in &options.shared_dicts {
        push(&mut conf, format_args!("lua_shared_dict {dict};\n"));
    }
    more(&mut conf, &options.http_conf, &options.http_includes)?;
    push(&mut conf, format_args!("init_by_lua_block {{\n{}}}\n", include_str!("run/console.lua")));
    push(
        &mut conf,
        format_args!("init_worker_by_lua_block {{\n{}{}}}\n}}\n", values(options), include_str!("run/script.lua")),
    );
    Ok(conf)
}

/// Appends; writing to a string can't fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

/// Appends what the user adds to a block.
fn more(conf: &mut String, texts: &[String], files: &[String]) -> Result<(), String> {
    for text in texts {
        push(conf, format_args!("{text}\n"));
    }
    for file in files {
        let path = std::path::absolute(file).map_err(|error| format!("{file}: {error}"))?;
        if !path.is_file() {
            return Err(format!("could not find include file '{file}'"));
        }
        push(conf, format_args!("include {};\n", conf_word(&path.to_string_lossy())));
    }
    Ok(())
}

/// The lines of Lua that tell the script's starter what to run.
fn values(options: &Options) -> String {
    let list = |words: &[String]| words.iter().map(|word| lua_string(word)).collect::<Vec<_>>().join(", ");
    let program = std::env::args().next().unwrap_or_default();
    let file = options.file.as_deref().map_or("nil".to_owned(), lua_string);
    let (pieces, words) = (list(&options.pieces), list(&options.words));
    format!(
        "local program, file = {}, {file}\nlocal pieces = {{ {pieces} }}\nlocal words = {{ {words} }}\n",
        lua_string(&program)
    )
}

/// A text as a string of Lua, which is one word for the configuration's reader as well.
fn lua_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'/' | b'-' | b' ' => quoted.push(char::from(byte)),
            _ => push(&mut quoted, format_args!("\\{byte:03}")),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as one word of the configuration.
fn conf_word(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

fn package_path(folders: &[String]) -> Result<String, String> {
    if folders.is_empty() {
        return Ok(String::new());
    }
    if let Some(folder) = folders.iter().find(|folder| folder.contains(['?', ';', '$'])) {
        return Err(format!("{folder}: a folder with ?, ; or $ in its name can't be searched"));
    }
    let (mut path, mut cpath) = (String::new(), String::new());
    for folder in folders {
        push(&mut path, format_args!("{folder}/?.ljbc;{folder}/?.lua;{folder}/?/init.ljbc;{folder}/?/init.lua;"));
        push(&mut cpath, format_args!("{folder}/?.so;"));
    }
    Ok(format!("lua_package_path {};\nlua_package_cpath {};\n", conf_word(&(path + ";")), conf_word(&(cpath + ";"))))
}

/// The chosen name servers, else those of the system.
fn name_servers(options: &Options) -> Vec<String> {
    if !options.name_servers.is_empty() {
        return options.name_servers.clone();
    }
    let text = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.trim().parse::<std::net::Ipv4Addr>().ok());
    addresses.map(|address| address.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(lua_string("a\"]]}\n$é"), r#""a\034\093\093\125\010\036\195\169""#);
        assert_eq!(conf_word("a\"; evil \\"), r#""a\"; evil \\""#);
        assert!(package_path(&["a;b".into()]).is_err());
    }

    #[test]
    fn the_configuration_has_what_the_options_ask_for() {
        let arguments =
            ["-e", "f()", "-I", "lib", "--shdict", "d 1m", "--http-conf", "lua_code_cache on;", "--ns", "127.0.0.9"];
        let options = options::parse(arguments.map(OsString::from)).unwrap();
        let conf = configuration(&options).unwrap();
        for line in ["lua_shared_dict d 1m;", "lua_code_cache on;", "resolver 127.0.0.9 ipv6=off;", "lib/?.lua;"] {
            assert!(conf.contains(line), "{line} is not in {conf}");
        }
    }
}
