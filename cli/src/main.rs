//! The `rsty` binary: arguments in, exit code out.
//!
//! It also answers to the name `nginx` (as `argv[0]`): then every argument is one of nginx's own. The spec
//! runner starts its server that way, so one binary is both sides of a test.

#![forbid(unsafe_code)]

mod cmd;
mod config;
mod exit;
mod ui;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::ui::ColourChoice;

/// Spec runner, server, formatter and linter for Lua on nginx.
#[derive(Debug, Parser)]
#[command(
    name = "rsty",
    version,
    disable_version_flag = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
#[command(max_term_width = 100, before_help = EXAMPLES)]
struct Cli {
    /// Print the version of rsty (`-V` answers as nginx does).
    #[arg(long, action = clap::ArgAction::Version)]
    version: (),

    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: ColourChoice,

    /// Print help; of a command with `rsty COMMAND --help`.
    #[arg(short, long, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run test-nginx spec files.
    Test(Box<cmd::test::Args>),
    /// Serve an nginx configuration.
    Serve(cmd::serve::Args),
    /// Write a small working application or library.
    Init(cmd::init::Args),
    /// Run Lua from the command line.
    Run(cmd::run::Args),
    /// Find leaked globals in Lua code.
    Lint(Box<cmd::lint::Args>),
    /// Tell an editor about Lua, configurations and specs (Language Server Protocol).
    #[command(hide = true)]
    Lsp(cmd::lsp::Args),
    /// Format spec files and number their blocks.
    Reindex(cmd::reindex::Args),
    /// Join reports of test runs, and make other reports of them.
    Report(cmd::report::Args),
    /// Tell what a message is about.
    Explain(cmd::explain::Args),
    /// Show what rsty.toml may say, and what it says.
    Config(cmd::config::Args),
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions(cmd::shell::Completions),
    /// Print the manual page.
    #[command(hide = true)]
    Man(cmd::shell::Man),
}

const EXAMPLES: &str = "\
Examples:
  rsty test t/001-set.t:12              run the block at line 12; without a path, all of t/
  rsty serve -p . -c conf/nginx.conf    serve a configuration; without one, this folder
  rsty run -e 'ngx.say(\"hello\")'        run Lua with the ngx API
  rsty lint lib/                        find leaked globals and more";

/// The whole command line. The commands have help of their own in two lengths; only that of `rsty` itself is one
/// screen either way, and `serve` and `run` answer in their own words.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(with_help)
}

fn with_help(command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(with_help);
    if matches!(command.get_name(), "serve" | "run") {
        return command;
    }
    let help = clap::Arg::new("help").short('h').long("help").action(clap::ArgAction::Help);
    let hides = command.get_arguments().any(clap::Arg::is_hide_short_help_set);
    command.arg(help.help(if hides { "Print help; all of it with '--help'" } else { "Print help" }))
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if called_as_nginx(&arguments) {
        return cmd::serve::run_as_nginx(&arguments);
    }
    let typed = arguments.len();
    let arguments = match config::extend(&command(), arguments) {
        Ok((arguments, warnings)) => {
            if !cmd::test::is_child() {
                for warning in &warnings {
                    ui::warning(warning);
                }
            }
            arguments
        }
        Err(error) => {
            ui::error(&error.to_string());
            return exit::Exit::Usage.into();
        }
    };
    let parsed = command().try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            if arguments.len() > typed {
                ui::talk("with the options that rsty.toml adds (rsty config show --origin):\n");
            }
            return ui::usage(&error);
        }
    };
    ui::choose_colour(cli.color);
    match cli.command {
        Command::Test(args) => cmd::test::run(*args),
        Command::Serve(args) => cmd::serve::run(args),
        Command::Init(args) => cmd::init::run(&args),
        Command::Run(args) => cmd::run::run(args),
        Command::Lint(args) => cmd::lint::run(*args),
        Command::Lsp(args) => cmd::lsp::run(&args),
        Command::Reindex(args) => cmd::reindex::run(args),
        Command::Report(args) => cmd::report::run(args),
        Command::Explain(args) => cmd::explain::run(args),
        Command::Config(args) => cmd::config::run(args),
        Command::Completions(args) => cmd::shell::completions(args, command()),
        Command::Man(args) => cmd::shell::man(args, command()),
    }
}

/// Whether the call is one for nginx: by that name, or with one of nginx's own options in place of a command, as
/// harnesses call whatever binary they were given (`$TEST_NGINX_BINARY -p DIR -c FILE`).
fn called_as_nginx(arguments: &[OsString]) -> bool {
    let by_name = |name: &OsString| Path::new(name).file_name().is_some_and(|name| name == "nginx");
    let by_option = |option: &OsString| match option.as_encoded_bytes() {
        [b'-', letter, ..] => b"?cegpqstTvV".contains(letter),
        _ => false,
    };
    arguments.first().is_some_and(by_name) || arguments.get(1).is_some_and(by_option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_name_nginx_or_its_options_mean_nginx() {
        assert!(called_as_nginx(&["nginx".into()]));
        assert!(called_as_nginx(&["rsty".into(), "-V".into()]));
        assert!(called_as_nginx(&["rsty".into(), "-pdir/".into()]));
        assert!(!called_as_nginx(&["rsty".into(), "-h".into()]));
        assert!(!called_as_nginx(&["rsty".into(), "--version".into()]));
        assert!(called_as_nginx(&["/usr/sbin/nginx".into(), "-V".into()]));
        assert!(!called_as_nginx(&["rsty".into(), "nginx".into()]));
        assert!(!called_as_nginx(&[]));
    }
}
