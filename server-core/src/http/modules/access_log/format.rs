//! `log_format`: a line of text and variables.

use bytes::Bytes;

use super::escape::Escape;
use crate::http::complex_value::{CompileError, ComplexValue, Part};
use crate::http::request::Request;
use crate::http::variables::Variables;

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) name: Bytes,
    escape: Escape,
    line: ComplexValue,
}

impl Format {
    /// The text of the predefined format `combined`.
    pub(crate) const COMBINED: &'static [u8] = b"$remote_addr - $remote_user [$time_local] \"$request\" $status \
        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

    /// Compiles the text of a format.
    pub(crate) fn compile(
        variables: &mut Variables,
        name: &[u8],
        escape: Escape,
        text: &[u8],
    ) -> Result<Self, CompileError> {
        Ok(Self { name: Bytes::copy_from_slice(name), escape, line: ComplexValue::compile(variables, text)? })
    }

    /// Appends the line of a request, without its end.
    pub(crate) fn append(&self, r: &Request, out: &mut Vec<u8>) {
        for part in self.line.parts() {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Variable(index) => self.escape.append(out, r.fresh_variable(*index).as_deref()),
                Part::Capture(number) => self.escape.append(out, r.capture(*number).as_deref()),
            }
        }
    }
}
