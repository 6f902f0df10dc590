//! nginx's command line: single letters, combined or with their value attached (`-tq`, `-pPREFIX`, `-p PREFIX`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rsty_server_core::process::Command;

/// Whose command line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// nginx's, with its messages.
    Nginx,
    /// The same with `-l` and one folder or file.
    Rsty,
}

/// The options.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) show_version: bool,
    pub(super) show_features: bool,
    pub(super) show_help: bool,
    pub(super) test: bool,
    pub(super) dump: bool,
    pub(super) quiet: bool,
    pub(super) prefix: Option<PathBuf>,
    pub(super) error_log: Option<PathBuf>,
    pub(super) conf_file: Option<PathBuf>,
    pub(super) globals: Vec<u8>,
    pub(super) signal: Option<Command>,
    /// `--watch`
    pub(super) watch: bool,
    pub(super) listen: Option<String>,
    /// A folder or file to serve.
    pub(super) target: Option<PathBuf>,
}

/// Reads the arguments behind the program's name. The error is a message without the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>, dialect: Dialect) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if dialect == Dialect::Rsty && argument == "--watch" {
            options.watch = true;
            continue;
        }
        let Some(letters) = argument.as_bytes().strip_prefix(b"-") else {
            if dialect == Dialect::Rsty && options.target.is_none() {
                options.target = Some(argument.into());
                continue;
            }
            return Err(format!("invalid option: \"{}\"", argument.to_string_lossy()));
        };
        let mut rest = letters;
        while let Some((&letter, tail)) = rest.split_first() {
            rest = tail;
            match letter {
                b'?' | b'h' => (options.show_version, options.show_help) = (true, true),
                b'v' => options.show_version = true,
                b'V' => (options.show_version, options.show_features) = (true, true),
                b't' => options.test = true,
                b'T' => (options.test, options.dump) = (true, true),
                b'q' => options.quiet = true,
                b'p' | b'e' | b'c' | b'g' | b's' => {
                    options.set(letter, value(letter, rest, &mut arguments)?)?;
                    rest = b"";
                }
                b'l' if dialect == Dialect::Rsty => {
                    let text = value(letter, rest, &mut arguments)?;
                    options.listen = Some(text.to_string_lossy().into_owned());
                    rest = b"";
                }
                _ => return Err(format!("invalid option: \"{}\"", String::from_utf8_lossy(&[letter]))),
            }
        }
    }
    Ok(options)
}

/// What follows the letter in its own argument, else the next argument.
fn value(letter: u8, rest: &[u8], arguments: &mut impl Iterator<Item = OsString>) -> Result<OsString, String> {
    if !rest.is_empty() {
        return Ok(OsStr::from_bytes(rest).to_owned());
    }
    arguments.next().ok_or_else(|| {
        let what = match letter {
            b'p' => "directory name",
            b'e' | b'c' => "file name",
            b'l' => "address",
            _ => "parameter",
        };
        format!("option \"-{}\" requires {what}", char::from(letter))
    })
}

impl Options {
    fn set(&mut self, letter: u8, value: OsString) -> Result<(), String> {
        match letter {
            b'p' => self.prefix = Some(value.into()),
            b'e' => self.error_log = Some(value.into()),
            b'c' => self.conf_file = Some(value.into()),
            b'g' => self.globals = value.into_vec(),
            _ => {
                let name = value.to_string_lossy();
                let command = Command::from_name(&name);
                self.signal = Some(command.ok_or_else(|| format!("invalid option: \"-s {name}\""))?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nginx(arguments: &[&str]) -> Result<Options, String> {
        parse(arguments.iter().map(OsString::from), Dialect::Nginx)
    }

    #[test]
    fn letters_combine_and_take_values_both_ways() {
        let options = nginx(&["-tq", "-p/x", "-c", "n.conf", "-g", "daemon off;"]).unwrap();
        assert!(options.test && options.quiet);
        assert_eq!(options.prefix, Some("/x".into()));
        assert_eq!(options.conf_file, Some("n.conf".into()));
        assert_eq!(options.globals, b"daemon off;");
        assert_eq!(nginx(&["-qsreload"]).unwrap().signal, Some(Command::Reload));
        assert!(nginx(&["-V"]).unwrap().show_features);
    }

    #[test]
    fn errors_have_nginx_texts() {
        assert_eq!(nginx(&["x"]).unwrap_err(), "invalid option: \"x\"");
        assert_eq!(nginx(&["-x"]).unwrap_err(), "invalid option: \"x\"");
        assert_eq!(nginx(&["-s", "x"]).unwrap_err(), "invalid option: \"-s x\"");
        assert_eq!(nginx(&["-p"]).unwrap_err(), "option \"-p\" requires directory name");
        assert_eq!(nginx(&["-g"]).unwrap_err(), "option \"-g\" requires parameter");
    }

    #[test]
    fn only_rsty_takes_a_target_and_an_address() {
        assert!(nginx(&["-l", "80"]).is_err());
        assert!(nginx(&["--watch"]).is_err());
        assert!(parse(["--watch".into()], Dialect::Rsty).unwrap().watch);
        let options = parse(["-l", "9000", "app.lua"].map(OsString::from), Dialect::Rsty).unwrap();
        assert_eq!((options.listen.as_deref(), options.target), (Some("9000"), Some("app.lua".into())));
        assert!(parse(["a", "b"].map(OsString::from), Dialect::Rsty).is_err());
    }
}
