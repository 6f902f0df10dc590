//! `rsty serve`, and the server under the name `nginx`.
//!
//! Both take nginx's options ([`options`]). `rsty serve` also takes a folder or a Lua file and then writes
//! itself the few lines of configuration that serve it ([`quick`]).

mod console;
mod options;
mod quick;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rsty_diag::render::{self, Style};
use rsty_server_core::cycle::{Cycle, Identity};
use rsty_server_core::process::{self, ConfSource, Failure, Launch, Started};
use rsty_server_core::version;

use self::options::Options;
use crate::exit::Exit;
use crate::ui;

/// Arguments of `rsty serve`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Args {
    /// nginx's options, or a folder, or a Lua file.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|FOLDER|FILE.lua")]
    options: Vec<OsString>,
}

const HELP: &str = "\
Usage: rsty serve [OPTIONS] [FOLDER | FILE.lua]

Serves an nginx configuration, a folder, or one Lua file whose chunk answers each request.
Without arguments: nginx.conf (or conf/nginx.conf) of the current folder, else the folder itself.

  -l address    listen here (default: a free port of 127.0.0.1 from 8080 on); for FOLDER and FILE.lua
  -c file       the configuration file
  -p folder     where relative paths start from (default: the current folder)
  -g directives directives for the top level of the configuration
  --watch       take up changed files while serving, and show errors in the browser
  -e file       the error log until the configuration names one (default: stderr)
  -t, -T        test the configuration; and print it
  -q            say nothing but errors while testing
  -s signal     signal a running server: stop, quit, reopen, reload
  -v, -V        print the version; and the features

Examples:
  rsty serve                          serve what is here
  rsty serve app.lua                  serve one Lua file
  rsty serve -p . -c conf/nginx.conf  serve a configuration
  rsty serve -t -c nginx.conf         check a configuration
";

const NGINX_HELP: &str = "\
Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]
             [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: /usr/local/nginx/)
  -e filename   : set error log file (default: logs/error.log)
  -c filename   : set configuration file (default: conf/nginx.conf)
  -g directives : set global directives out of configuration file

";

/// Runs the command.
pub(crate) fn run(args: Args) -> ExitCode {
    if args.options.iter().any(|option| option == "--help") {
        ui::answer(HELP);
        return Exit::Fine.into();
    }
    match options::parse(args.options, options::Dialect::Rsty) {
        Ok(options) => serve(options, Identity::Rsty),
        Err(message) => {
            ui::error(&message);
            ui::talk("Try `rsty serve --help`.\n");
            Exit::Usage.into()
        }
    }
}

/// Behaves as the program nginx, whose whole argument vector this is.
pub(crate) fn run_as_nginx(arguments: &[OsString]) -> ExitCode {
    let options = arguments.get(1..).unwrap_or_default().to_vec();
    match options::parse(options, options::Dialect::Nginx) {
        Ok(options) => serve(options, Identity::Nginx),
        Err(message) => {
            ui::talk(&format!("nginx: {message}\n"));
            ExitCode::from(1)
        }
    }
}

fn serve(options: Options, identity: Identity) -> ExitCode {
    if options.show_version {
        show_version(&options, identity);
        if !options.test {
            return Exit::Fine.into();
        }
    }
    let launch = match launch(&options, identity) {
        Ok(launch) => launch,
        Err(message) => {
            ui::error(&message);
            return Exit::Usage.into();
        }
    };
    let outcome = if options.test {
        test(&launch, &options)
    } else if let Some(command) = options.signal {
        process::signal(&launch, command).map(|()| Started::Ended(0))
    } else {
        let console = options.watch.then(|| console::open(launch.conf_file()));
        process::start_with(&launch, console, |cycle| announce(cycle, &launch))
    };
    match outcome {
        Ok(Started::InBackground) => Exit::Fine.into(),
        Ok(Started::Ended(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(failure) => report(&failure, &launch, &options),
    }
}

fn show_version(options: &Options, identity: Identity) {
    let text = if options.show_features { version::long(identity) } else { version::short(identity) };
    match identity {
        Identity::Nginx => ui::talk(&text),
        Identity::Rsty if !options.show_help => ui::answer(&text),
        Identity::Rsty => {}
    }
    if options.show_help {
        match identity {
            Identity::Nginx => ui::talk(NGINX_HELP),
            Identity::Rsty => ui::answer(HELP),
        }
    }
}

fn launch(options: &Options, identity: Identity) -> Result<Launch, String> {
    let here = std::env::current_dir().map_err(|error| format!("the current folder is not readable: {error}"))?;
    let prefix = match (&options.prefix, identity) {
        (Some(prefix), _) => here.join(prefix),
        (None, Identity::Nginx) => version::DEFAULT_PREFIX.into(),
        (None, Identity::Rsty) => here.clone(),
    };
    let error_log = match (&options.error_log, identity) {
        (Some(path), _) if path.as_os_str() == "stderr" || path.as_os_str().is_empty() => None,
        (Some(path), _) => Some(path.clone()),
        (None, Identity::Nginx) => Some("logs/error.log".into()),
        (None, Identity::Rsty) => None,
    };
    let conf = match (&options.conf_file, identity) {
        (Some(path), _) => ConfSource::File(path.clone()),
        (None, Identity::Nginx) => ConfSource::File("conf/nginx.conf".into()),
        (None, Identity::Rsty) => choose(options, &prefix)?,
    };
    let arguments = std::env::args_os().collect();
    Ok(Launch { identity, prefix, conf, error_log, globals: options.globals.clone(), arguments, watch: options.watch })
}

/// What `rsty serve` serves when no configuration was named.
fn choose(options: &Options, prefix: &Path) -> Result<ConfSource, String> {
    let Some(target) = &options.target else {
        let known = ["nginx.conf", "conf/nginx.conf"].map(|name| prefix.join(name));
        if let (Some(found), None) = (known.into_iter().find(|path| path.is_file()), &options.listen) {
            return Ok(ConfSource::File(found));
        }
        return quick::folder(prefix, options.listen.as_deref());
    };
    let target: PathBuf = prefix.join(target);
    if target.is_dir() {
        return quick::folder(&target, options.listen.as_deref());
    }
    match target.extension() {
        _ if !target.exists() => Err(format!("{} does not exist", target.display())),
        Some(extension) if extension == "conf" => Ok(ConfSource::File(target)),
        _ => quick::lua_file(&target, options.listen.as_deref()),
    }
}

fn announce(cycle: &Cycle, launch: &Launch) {
    if launch.identity == Identity::Nginx {
        return;
    }
    for spec in &cycle.conf.listen {
        ui::talk(&format!("Listening on {}\n", quick::url(&spec.address)));
    }
    if launch.watch {
        ui::talk(console::HELP);
    }
}

fn test(launch: &Launch, options: &Options) -> Result<Started, Failure> {
    let sources = process::test(launch)?;
    let file = launch.conf_file();
    if !options.quiet {
        match launch.identity {
            Identity::Nginx => {
                ui::talk(&format!("nginx: the configuration file {} syntax is ok\n", file.display()));
                ui::talk(&format!("nginx: configuration file {} test is successful\n", file.display()));
            }
            Identity::Rsty => ui::talk(&format!("The configuration {} is fine.\n", file.display())),
        }
    }
    if options.dump {
        // A file that is included twice is shown once.
        let mut shown = HashSet::new();
        for source in sources.iter().filter(|source| shown.insert(source.name())) {
            let text = String::from_utf8_lossy(source.bytes());
            ui::answer(&format!("# configuration file {}:\n{text}\n", source.name()));
        }
    }
    Ok(Started::Ended(0))
}

fn report(failure: &Failure, launch: &Launch, options: &Options) -> ExitCode {
    if launch.identity == Identity::Nginx {
        if let Some(diagnostic) = &failure.diagnostic {
            ui::talk(&format!("nginx: [emerg] {}\n", rsty_server_core::conf::nginx_message(diagnostic)));
        }
        if options.test {
            ui::talk(&format!("nginx: configuration file {} test failed\n", launch.conf_file().display()));
        }
        return ExitCode::from(1);
    }
    let Some(diagnostic) = &failure.diagnostic else { return Exit::ToolFailure.into() };
    ui::talk(&format!("{}\n", render::full(diagnostic, Style::Coloured)));
    match diagnostic.id {
        "system_call_failed" => Exit::ToolFailure.into(),
        _ => Exit::Usage.into(),
    }
}
