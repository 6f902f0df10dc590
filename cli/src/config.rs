//! `rsty.toml`: what a project always wants, so that nobody has to type it.
//!
//! The nearest file upwards from the working directory counts. Its values are given to the commands as the options
//! they stand for, before the user's own: whatever is typed goes before what is written. Unknown keys are told about
//! and passed over; a value of the wrong type is an error with its place.

pub(crate) mod keys;
mod read;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use self::keys::{Flag, KEYS, Key};
use self::read::Setting;
pub(crate) use self::read::{ConfigError, File};

/// The name of the file.
pub(crate) const NAME: &str = "rsty.toml";

/// The nearest configuration file, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    let depth = here.ancestors().position(|folder| folder.join(NAME).is_file())?;
    // Relative, as the user sees it from here.
    Some((0..depth).map(|_| "..").collect::<PathBuf>().join(NAME))
}

/// The command line with the options that the configuration file adds, and what to warn about. The arguments come back
/// as they are where they can't be understood: the second parse will tell.
pub(crate) fn extend(command: &Command, arguments: Vec<OsString>) -> Result<(Vec<OsString>, Vec<String>), ConfigError> {
    let Ok(matches) = command.clone().try_get_matches_from(&arguments) else { return Ok((arguments, Vec::new())) };
    let Some((name, own)) = matches.subcommand() else { return Ok((arguments, Vec::new())) };
    if !KEYS.iter().any(|key| key.section == name) {
        return Ok((arguments, Vec::new()));
    }
    let Some(path) = chosen(own) else { return Ok((arguments, Vec::new())) };
    let file = File::read(&path)?;
    let (front, back) = match command.find_subcommand(name) {
        Some(subcommand) => options(&file, name, subcommand, own),
        None => (Vec::new(), Vec::new()),
    };
    let mut extended = arguments;
    let at = position(&extended, name);
    extended.splice(at..at, front);
    extended.extend(back);
    Ok((extended, file.warnings))
}

/// The file that counts for a command: the one it was told, none if it was told none, else the nearest.
fn chosen(own: &ArgMatches) -> Option<PathBuf> {
    if own.try_get_one::<bool>("no_config").ok().flatten() == Some(&true) {
        return None;
    }
    match own.try_get_one::<PathBuf>("config").ok().flatten() {
        Some(path) => path.extension().is_some_and(|extension| extension == "toml").then(|| path.clone()),
        None => find(),
    }
}

/// What stands for the file's settings: behind the command's name, and at the end.
fn options(file: &File, section: &str, command: &Command, own: &ArgMatches) -> (Vec<OsString>, Vec<OsString>) {
    let typed = |id: &str| own.try_contains_id(id).is_ok() && own.value_source(id) == Some(ValueSource::CommandLine);
    let id_of = |long: &str| command.get_arguments().find(|arg| arg.get_long() == Some(long)).map(|arg| arg.get_id());
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let letters = Letters::typed(own);
    for (key, setting) in &file.settings {
        if key.section != section || key.unless.iter().any(|id| typed(id)) {
            continue;
        }
        match key.flag {
            Flag::Option(long) if !id_of(long).is_some_and(|id| typed(id.as_str())) => {
                front.extend(setting.values.iter().map(|value| OsString::from(format!("--{long}={value}"))));
            }
            Flag::Switch(long) if setting.is_true() => front.push(format!("--{long}").into()),
            Flag::SwitchOff(long) if setting.is_false() => front.push(format!("--{long}").into()),
            Flag::Letter(letter) if letters.allow(letter, file) => {
                front.extend(setting.values.iter().map(|value| OsString::from(format!("-{letter}{value}"))));
            }
            Flag::Paths if !typed("paths") => back.extend(setting.values.iter().map(OsString::from)),
            _ => {}
        }
    }
    (front, back)
}

/// What was typed of nginx's options.
struct Letters {
    typed: String,
    /// Whether a folder or file to serve was named.
    has_target: bool,
}

impl Letters {
    fn typed(own: &ArgMatches) -> Self {
        let options = own.try_get_many::<OsString>("options").ok().flatten().into_iter().flatten();
        let mut letters = Self { typed: String::new(), has_target: false };
        let mut is_value = false;
        for option in options.map(|option| option.to_string_lossy()) {
            match option.strip_prefix('-') {
                _ if std::mem::take(&mut is_value) => {}
                None => letters.has_target = true,
                Some(typed) => {
                    // Behind a letter that takes a value, the rest is the value.
                    let end = typed.find(|letter| "cegpsl".contains(letter)).map_or(typed.len(), |at| at + 1);
                    letters.typed.push_str(typed.get(..end).unwrap_or_default());
                    is_value = end == typed.len() && typed.ends_with(|letter| "cegpsl".contains(letter));
                }
            }
        }
        letters
    }

    /// Whether the file may add an option: it was not typed, and speaks of what is served.
    fn allow(&self, letter: &str, file: &File) -> bool {
        let has_conf = self.typed.contains('c') || file.settings.iter().any(|(key, _)| key.flag == Flag::Letter("c"));
        let fits = if letter == "l" { self.has_target || !has_conf } else { !self.has_target };
        fits && !self.typed.contains(letter)
    }
}

/// Where the command's own arguments begin.
fn position(arguments: &[OsString], name: &str) -> usize {
    let mut skip = true;
    for (index, argument) in arguments.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        if argument == name {
            return index + 1;
        }
        skip = argument == "--color";
    }
    arguments.len()
}

/// The value that counts for a key and where it comes from.
pub(crate) fn effective<'a>(key: &Key, file: Option<&'a File>) -> (String, Option<(&'a Path, usize)>) {
    let setting: Option<(&File, &Setting)> = file.and_then(|file| Some((file, file.find(key)?)));
    match setting {
        Some((file, setting)) => (setting.text.clone(), Some((file.path.as_path(), setting.line))),
        None => (key.default.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    fn extended(toml: &str, typed: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        std::fs::write(&path, toml).unwrap();
        let arguments = ["rsty", "test"].iter().chain(typed).map(OsString::from);
        let arguments = arguments.chain([OsString::from(format!("--config={}", path.display()))]).collect();
        let (arguments, _) = extend(&Cli::command(), arguments).unwrap();
        // Paths start at the file's folder.
        let here = format!("{}/", folder.path().display());
        let texts = arguments.into_iter().skip(2).map(|argument| argument.into_string().unwrap().replace(&here, ""));
        texts.filter(|text| !text.starts_with("--config")).collect()
    }

    #[test]
    fn what_is_written_becomes_options_and_what_is_typed_goes_first() {
        let toml = "[test]\njobs = 3\nstrict = true\nverbose = false\nshell = false\npaths = [\"spec\"]\n";
        assert_eq!(extended(toml, &[]), ["--no-shell", "--jobs=3", "--strict", "spec"]);
        assert_eq!(extended(toml, &["-j", "2", "t"]), ["--no-shell", "--strict", "-j", "2", "t"]);
        assert_eq!(extended("[test]\nmax-fail = 3\n", &["-x"]), ["-x"]);
        assert_eq!(extended("[test.env]\nA = \"b c\"\n", &[]), ["--env=A=b c"]);
    }

    #[test]
    fn every_key_stands_for_an_option_that_exists() {
        let command = Cli::command();
        for key in KEYS {
            let command = command.find_subcommand(key.section).expect(key.section);
            let has = |long: &str| command.get_arguments().any(|arg| arg.get_long() == Some(long));
            let fits = match key.flag {
                Flag::Option(long) | Flag::Switch(long) | Flag::SwitchOff(long) => has(long),
                Flag::Paths => command.get_arguments().any(|arg| arg.get_id() == "paths"),
                Flag::Letter(_) => command.get_arguments().any(|arg| arg.get_id() == "options"),
                Flag::Own => true,
            };
            assert!(fits, "{}.{}", key.section, key.name);
            for id in key.unless {
                assert!(command.get_arguments().any(|arg| arg.get_id() == id), "{}.{}: {id}", key.section, key.name);
            }
        }
    }

    #[test]
    fn what_serve_is_told_goes_before_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "[serve]\nconf = \"/c\"\nlisten = \"127.0.0.1:1\"\n").unwrap();
        let file = File::read(&folder.path().join(NAME)).unwrap();
        let command = Cli::command();
        let front = |typed: &[&str]| {
            let matches = command.clone().try_get_matches_from(["rsty", "serve"].iter().chain(typed)).unwrap();
            let own = matches.subcommand_matches("serve").unwrap();
            options(&file, "serve", command.find_subcommand("serve").unwrap(), own).0
        };
        assert_eq!(front(&[]), ["-c/c"]);
        assert_eq!(front(&["-tq"]), ["-c/c"]);
        assert_eq!(front(&["-t", "-c", "x"]), Vec::<OsString>::new());
        assert_eq!(front(&["-p", "."]), ["-c/c"]);
        assert_eq!(front(&["app.lua"]), ["-l127.0.0.1:1"]);
    }

    #[test]
    fn a_command_that_can_not_be_understood_is_left_to_the_parser() {
        let arguments: Vec<OsString> = ["rsty", "test", "--nonsense"].map(OsString::from).into();
        assert_eq!(extend(&Cli::command(), arguments.clone()).unwrap().0, arguments);
        assert_eq!(position(&["rsty".into(), "--color".into(), "test".into(), "test".into()], "test"), 4);
    }
}
