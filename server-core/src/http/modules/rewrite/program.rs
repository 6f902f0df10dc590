//! The program that the rewrite directives of a location or server make up: operations in the order of the
//! file, shared by `set`, `rewrite`, `if`, `return`, `break` and by other modules' directives that compute a
//! variable (`set_by_lua`, `set_md5`, …).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::super::file_status;
use super::condition::{FileTest, Sense};
use crate::http::code::Code;
use crate::http::complex_value::{ComplexValue, Part};
use crate::http::h1::uri;
use crate::http::location::{self, LocRef};
use crate::http::regex::Regex;
use crate::http::request::Request;
use crate::http::special_response;
use crate::http::variables::VarIndex;
use crate::log::Level;

/// A function that computes the value of a variable; an error ends the request with that code.
pub(crate) type Function = Box<dyn Fn(&Rc<Request>, &[Option<Bytes>]) -> Result<Option<Bytes>, Code>>;

/// What an argument of a [`Function`] is made of.
pub(crate) enum Argument {
    /// A variable, which may have no value.
    Variable(VarIndex),
    /// A string with variables.
    Value(ComplexValue),
}

/// One operation.
pub(crate) enum Op {
    /// `break`
    Break,
    /// A directive of another module that sets a variable.
    Call {
        /// The variable that takes the result.
        target: VarIndex,
        /// What the function gets.
        args: Box<[Argument]>,
        /// The function.
        function: Function,
    },
    /// `if`
    If {
        /// What is tested.
        test: Test,
        /// The location to enter; none at server level.
        loc: Option<LocRef>,
        /// The operation behind the block.
        end: usize,
    },
    /// `return`
    Return {
        /// The status.
        status: i32,
        /// The text or the address.
        text: Option<ComplexValue>,
    },
    /// `rewrite`
    Rewrite(Box<Rewrite>),
    /// `set`
    Set {
        /// The variable.
        target: VarIndex,
        /// Its new value.
        value: ComplexValue,
    },
}

/// What an `if` tests, compiled.
pub(crate) enum Test {
    /// The text of a variable.
    Equal(VarIndex, ComplexValue, Sense),
    /// What a path leads to.
    File(FileTest, ComplexValue, Sense),
    /// A variable against a pattern.
    Regex(VarIndex, Regex, Sense),
    /// Whether a variable is neither empty nor `0`.
    Variable(VarIndex),
}

/// What happens after a rewrite that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Stay in this location.
    Break,
    /// Go on with the next operation.
    Continue,
    /// Look the location up again.
    Last,
    /// Answer with this status.
    Redirect(i32),
}

/// A compiled `rewrite`.
pub(crate) struct Rewrite {
    /// The pattern.
    pub(crate) regex: Regex,
    /// The new path; of a redirect, the whole address.
    pub(crate) path: ComplexValue,
    /// The new arguments, when the replacement had a `?`.
    pub(crate) args: Option<ComplexValue>,
    /// Whether the replacement had a `?` somewhere (redirects).
    pub(crate) has_args: bool,
    /// Whether the request's arguments are appended.
    pub(crate) keep_args: bool,
    /// What happens next.
    pub(crate) after: After,
}

/// How the values of one run are written.
struct Run<'a> {
    r: &'a Rc<Request>,
    /// Whether matches are worth a line.
    log: bool,
    /// Whether captures are escaped: they come from a decoded path and may go back into one.
    quote: bool,
}

/// Runs a program; [`Code::DECLINED`] when the request goes on.
pub(super) fn run(r: &Rc<Request>, ops: &[Op], log: bool) -> Code {
    let mut run = Run { r, log: log || r.logs(Level::Debug), quote: true };
    let mut at = 0;
    while let Some(op) = ops.get(at) {
        at += 1;
        match op {
            Op::Set { target, value } => {
                let value = run.eval(value, run.quote);
                r.assign_variable(*target, Some(value));
            }
            Op::Call { target, args, function } => {
                let args: smallvec::SmallVec<[Option<Bytes>; 3]> = args.iter().map(|arg| run.argument(arg)).collect();
                match function(r, &args) {
                    Ok(value) => r.assign_variable(*target, value),
                    Err(code) => return code,
                }
            }
            Op::Break => {
                if r.uri_changed.replace(false) {
                    r.left_location.set(true);
                }
                return Code::DECLINED;
            }
            Op::Return { status, text } => return run.answer(*status, text.as_ref()),
            Op::If { test, loc, end } => match run.holds(test) {
                Err(code) => return code,
                Ok(false) => at = *end,
                Ok(true) => {
                    if let Some(loc) = loc.as_ref().and_then(|loc| loc.get()) {
                        location::enter(r, loc);
                    }
                }
            },
            Op::Rewrite(rewrite) => match run.rewrite(rewrite) {
                Err(code) => return code,
                Ok(Next::Op) => {}
                Ok(Next::End(code)) => return code,
            },
        }
    }
    Code::DECLINED
}

enum Next {
    Op,
    End(Code),
}

impl Run<'_> {
    fn argument(&self, argument: &Argument) -> Option<Bytes> {
        match argument {
            Argument::Variable(index) => self.r.fresh_variable(*index),
            Argument::Value(value) => Some(self.eval(value, self.quote)),
        }
    }

    /// The value of a string, with captures escaped when they come from an escaped path.
    fn eval(&self, value: &ComplexValue, escape: bool) -> Bytes {
        let has_captures = || value.parts().iter().any(|part| matches!(part, Part::Capture(_)));
        if !escape || !self.r.quoted_uri.get() || !has_captures() {
            return value.eval(self.r);
        }
        let mut out = BytesMut::new();
        for part in value.parts() {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Variable(index) => out.extend_from_slice(&self.r.fresh_variable(*index).unwrap_or_default()),
                Part::Capture(number) => {
                    out.extend_from_slice(&uri::escape_args(&self.r.capture(*number).unwrap_or_default()));
                }
            }
        }
        out.freeze()
    }

    /// Matches, and tells the log.
    fn matches(&self, regex: &Regex, subject: &Bytes) -> Result<bool, Code> {
        let matched = match regex.exec(self.r, subject) {
            Ok(matched) => matched,
            Err(error) => {
                let subject = String::from_utf8_lossy(subject);
                let source = String::from_utf8_lossy(regex.source());
                let message = format!("{error} on \"{subject}\" using \"{source}\"");
                self.r.log(Level::Alert, format_args!("{message}"));
                return Err(Code::INTERNAL_SERVER_ERROR);
            }
        };
        if self.log {
            let verb = if matched { "matches" } else { "does not match" };
            self.r.log_bytes(Level::Notice, &[b"\"", regex.source(), b"\" ", verb.as_bytes(), b" \"", subject, b"\""]);
        }
        if !matched {
            self.r.captures.take();
        }
        Ok(matched)
    }

    fn holds(&self, test: &Test) -> Result<bool, Code> {
        let variable = |index: VarIndex| self.r.fresh_variable(index).unwrap_or_default();
        let (found, sense) = match test {
            Test::Variable(index) => {
                let value = variable(*index);
                (!value.is_empty() && value != "0", Sense::Plain)
            }
            Test::Equal(index, value, sense) => {
                let subject = variable(*index);
                (subject == self.eval(value, self.quote), *sense)
            }
            Test::Regex(index, regex, sense) => (self.matches(regex, &variable(*index))?, *sense),
            Test::File(test, path, sense) => {
                let path = self.eval(path, self.quote);
                (file_status::holds(self.r, &path, *test), *sense)
            }
        };
        Ok(found == (sense == Sense::Plain))
    }

    fn answer(&self, status: i32, text: Option<&ComplexValue>) -> Code {
        match text {
            None if status >= 400 => Code(status),
            Some(text) if status >= 400 && text.source().is_empty() => Code(status),
            _ => {
                let text = text.map(|text| text.eval(self.r)).unwrap_or_default();
                special_response::send(self.r, status, None, text)
            }
        }
    }

    fn rewrite(&mut self, rewrite: &Rewrite) -> Result<Next, Code> {
        let r = self.r;
        if !self.matches(&rewrite.regex, &r.uri.get())? {
            return Ok(Next::Op);
        }
        r.internal.set(true);
        r.valid_unparsed_uri.set(false);
        r.uri_changed.set(rewrite.after != After::Break);
        r.left_location.set(rewrite.after == After::Break);
        if let After::Redirect(status) = rewrite.after {
            self.redirect(rewrite);
            return Ok(Next::End(Code(status)));
        }
        let path = self.eval(&rewrite.path, false);
        let old_args = r.args.get();
        match &rewrite.args {
            Some(args) => {
                let mut args = BytesMut::from(&*self.eval(args, true));
                if rewrite.keep_args && !old_args.is_empty() {
                    args.extend_from_slice(b"&");
                    args.extend_from_slice(&old_args);
                }
                r.args.set(args.freeze());
            }
            None if !rewrite.keep_args => r.args.clear(),
            None => {}
        }
        self.quote = false;
        if self.log {
            let args = r.args.get();
            r.log_bytes(Level::Notice, &[b"rewritten data: \"", &path, b"\", args: \"", &args, b"\""]);
        }
        if path.is_empty() {
            r.log(Level::Error, format_args!("the rewritten URI has a zero length"));
            return Err(Code::INTERNAL_SERVER_ERROR);
        }
        r.uri.set(path);
        r.set_extension();
        Ok(if rewrite.after == After::Continue { Next::Op } else { Next::End(Code::DECLINED) })
    }

    fn redirect(&self, rewrite: &Rewrite) {
        let r = self.r;
        let mut address = unescape_redirect(&self.eval(&rewrite.path, true));
        let args = r.args.get();
        if rewrite.keep_args && !args.is_empty() {
            address.push(if rewrite.has_args { b'&' } else { b'?' });
            address.extend_from_slice(&args);
        }
        if self.log {
            r.log_bytes(Level::Notice, &[b"rewritten redirect: \"", &address, b"\""]);
        }
        r.headers_out.redirect_to(address);
    }
}

/// Decodes what may stand in an address as it is, up to the first `?`.
fn unescape_redirect(text: &[u8]) -> Vec<u8> {
    let (path, rest) = text.split_at(memchr::memchr(b'?', text).unwrap_or(text.len()));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let code = path.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        });
        match code {
            Some(code) if code > b'%' && code < 0x7f => {
                out.push(code);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::unescape_redirect;

    #[test]
    fn redirects_keep_what_must_stay_escaped() {
        assert_eq!(unescape_redirect(b"/a%62%20%c3%25?x=%62"), b"/ab%20%c3%25?x=%62");
        assert_eq!(unescape_redirect(b"/%"), b"/%");
    }
}
