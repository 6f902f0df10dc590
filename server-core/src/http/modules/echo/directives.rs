//! The directives and the settings of a location.

use std::rc::Rc;

use rsty_diag::Diagnostic;

use super::handler::EchoHandler;
use crate::conf::value::set_number;
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};

/// Settings of `http { }`.
#[derive(Default)]
pub struct MainConf {
    /// Whether any directive puts text around bodies.
    pub(super) filters: bool,
}

/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    pub(super) commands: Rc<Vec<Command>>,
    pub(super) before_body: Rc<Vec<Command>>,
    pub(super) after_body: Rc<Vec<Command>>,
    pub(super) status: Option<u16>,
    /// Whether some command before the current one writes something, while the configuration is read.
    has_output: bool,
}

impl LocConf {
    /// Whether there is text around bodies.
    pub(crate) fn wraps_body(&self) -> bool {
        !self.before_body.is_empty() || !self.after_body.is_empty()
    }
}

/// What a directive does when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    AbortParent,
    Begin,
    BlockingSleep,
    Duplicate,
    Echo,
    End,
    Exec,
    Flush,
    ForeachSplit,
    Location(Waiting),
    ReadRequestBody,
    RequestBody,
    ResetTimer,
    Sleep,
    Subrequest(Waiting),
}

/// Whether the commands after a subrequest wait for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Async,
    Sync,
}

/// A directive with its compiled arguments.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) action: Action,
    pub(super) args: Box<[ComplexValue]>,
    /// Options without their dash.
    pub(super) options: Box<[Box<[u8]>]>,
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        for (own, outer) in [
            (&mut self.commands, &outer.commands),
            (&mut self.before_body, &outer.before_body),
            (&mut self.after_body, &outer.after_body),
        ] {
            if own.is_empty() {
                *own = Rc::clone(outer);
            }
        }
        self.status = self.status.or(outer.status);
        Ok(())
    }
}

const PLACES: Contexts = Contexts::LOCATION.or(Contexts::IF_IN_LOCATION);

macro_rules! content {
    ($name:literal, $least:expr, $most:expr, $action:expr) => {
        Rule {
            name: $name,
            contexts: PLACES,
            args: Arity::Words($least, $most),
            apply: |scope, directive| content(scope, directive, $action),
        }
    };
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    content!("echo", 0, Arity::MANY, Action::Echo),
    content!("echo_request_body", 0, 0, Action::RequestBody),
    content!("echo_sleep", 1, 1, Action::Sleep),
    content!("echo_flush", 0, 0, Action::Flush),
    content!("echo_blocking_sleep", 1, 1, Action::BlockingSleep),
    content!("echo_reset_timer", 0, 0, Action::ResetTimer),
    content!("echo_location_async", 1, 2, Action::Location(Waiting::Async)),
    content!("echo_location", 1, 2, Action::Location(Waiting::Sync)),
    content!("echo_subrequest_async", 2, Arity::MANY, Action::Subrequest(Waiting::Async)),
    content!("echo_subrequest", 2, Arity::MANY, Action::Subrequest(Waiting::Sync)),
    content!("echo_duplicate", 2, Arity::MANY, Action::Duplicate),
    content!("echo_read_request_body", 0, 0, Action::ReadRequestBody),
    content!("echo_foreach_split", 2, Arity::MANY, Action::ForeachSplit),
    content!("echo_end", 0, 0, Action::End),
    content!("echo_abort_parent", 0, 0, Action::AbortParent),
    content!("echo_exec", 1, 2, Action::Exec),
    Rule {
        name: "echo_before_body",
        contexts: PLACES,
        args: Arity::Words(0, Arity::MANY),
        apply: |scope, directive| {
            let command = command(scope, directive, Action::Echo)?;
            scope.main.echo.filters = true;
            Rc::make_mut(&mut scope.loc.echo.before_body).push(command);
            Ok(())
        },
    },
    Rule {
        name: "echo_after_body",
        contexts: PLACES,
        args: Arity::Words(0, Arity::MANY),
        apply: |scope, directive| {
            let command = command(scope, directive, Action::Echo)?;
            scope.main.echo.filters = true;
            Rc::make_mut(&mut scope.loc.echo.after_body).push(command);
            Ok(())
        },
    },
    Rule {
        name: "echo_status",
        contexts: PLACES,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set_number(&mut scope.loc.echo.status, directive),
    },
];

fn content(scope: &mut Scope<'_>, directive: &Directive, action: Action) -> Result<(), Diagnostic> {
    let command = command(scope, directive, action)?;
    let leads = matches!(action, Action::Location(_) | Action::Subrequest(_));
    let writes = matches!(action, Action::Echo | Action::RequestBody | Action::Flush | Action::Duplicate);
    let first = (leads || writes) && !std::mem::replace(&mut scope.loc.echo.has_output, true);
    let commands = Rc::make_mut(&mut scope.loc.echo.commands);
    if first && leads {
        // Filters of this location must see its body begin before the subrequest's does.
        commands.push(Command { action: Action::Begin, args: Box::default(), options: Box::default() });
    }
    commands.push(command);
    scope.loc.core.handler = Some(&EchoHandler);
    Ok(())
}

/// Compiles a directive. Leading words that begin with `-` are options, up to `--`; words with variables never are.
fn command(scope: &mut Scope<'_>, directive: &Directive, action: Action) -> Result<Command, Diagnostic> {
    let mut args = Vec::new();
    let mut options = Vec::new();
    let mut expecting_options = true;
    for word in &directive.args {
        let value = ComplexValue::of_word(scope, directive, word)?;
        if expecting_options && value.constant().is_some() && !word.text.is_empty() {
            match &*word.text {
                [b'-', b'-', ..] => {
                    expecting_options = false;
                    continue;
                }
                [b'-', option @ ..] if !option.is_empty() => {
                    options.push(option.into());
                    continue;
                }
                _ => expecting_options = false,
            }
        } else {
            expecting_options = false;
        }
        args.push(value);
    }
    Ok(Command { action, args: args.into(), options: options.into() })
}
