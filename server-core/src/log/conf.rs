//! The `error_log` directive, at every level of the configuration.

use std::sync::Arc;

use rsty_diag::Diagnostic;

use super::error_log::{ErrorLog, Sink, Target};
use super::file::LogFile;
use super::level::Level;
use super::syslog::Syslog;
use crate::conf::Directive;
use crate::cycle::CycleConf;

/// The `error_log` lines of one level. A level without any inherits the one around it.
#[derive(Clone, Debug, Default)]
pub struct ErrorLogConf {
    targets: Vec<Target>,
}

impl ErrorLogConf {
    /// Whether the level has no `error_log` of its own.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The log of these lines; `None` where the level has none of its own.
    pub fn build(&self) -> Option<ErrorLog> {
        (!self.is_empty()).then(|| ErrorLog::new(self.targets.clone()))
    }

    /// The log of the top level's lines. When none of them is a file, errors also go to the files of `first`, the log
    /// that was there before the configuration was read.
    pub fn build_over(&self, first: &ErrorLog) -> ErrorLog {
        if self.is_empty() {
            return first.with_level(Level::Error);
        }
        let mut targets = self.targets.clone();
        if !targets.iter().any(|target| matches!(target.sink, Sink::File(_))) {
            targets.extend(first.files(Level::Error));
        }
        ErrorLog::new(targets)
    }

    /// Records one `error_log` directive.
    pub fn add(&mut self, directive: &Directive, cycle: &mut CycleConf) -> Result<(), Diagnostic> {
        let Some(target) = directive.arg(0) else { return Ok(()) };
        let sink = if target.is("stderr") {
            cycle.logs_to_stderr = true;
            Sink::File(LogFile::stderr())
        } else if target.text.starts_with(b"memory:") {
            let message = "\"memory:\" logs are not supported";
            return Err(directive
                .error_at(target, "invalid_value", message)
                .help("use a file: `error_log logs/error.log debug;`"));
        } else if target.text.starts_with(b"syslog:") {
            let parsed = Syslog::parse(&target.lossy());
            Sink::Syslog(Arc::new(parsed.map_err(|message| directive.error_at(target, "invalid_value", message))?))
        } else {
            let path = cycle.full_path(&target.text);
            Sink::File(cycle.files.file(path))
        };
        let mut level = None;
        for word in directive.args.iter().skip(1) {
            let debug_part = word.text.starts_with(b"debug_");
            let known = if debug_part { Some(Level::Debug) } else { Level::from_word(&word.text) };
            let Some(known) = known else {
                let message = format!("invalid log level \"{}\"", word.lossy());
                let error = directive.error_at(word, "invalid_value", message);
                return Err(match rsty_diag::closest(&word.lossy(), Level::NAMES.into_iter().skip(1)) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                });
            };
            if level.is_some() && !debug_part {
                let message = format!("duplicate log level \"{}\"", word.lossy());
                return Err(directive.error_at(word, "duplicate_value", message));
            }
            level = Some(known);
        }
        self.targets.push(Target { level: level.unwrap_or_default(), sink });
        Ok(())
    }
}
