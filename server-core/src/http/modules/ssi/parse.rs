//! Finds commands in text. Pure: bytes in, steps out.

use std::fmt::Write as _;

/// `<!--#name key="value" … -->`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: Vec<u8>,
    /// Values keep their backslashes.
    pub(super) params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Command {
    /// The value of a parameter.
    pub(super) fn param(&self, key: &str) -> Option<&[u8]> {
        self.params.iter().find(|(known, _)| known == key.as_bytes()).map(|(_, value)| &value[..])
    }
}

/// What stands at the front of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This many bytes are a command.
    Command(usize, Command),
    /// This many bytes are a command that is written wrongly, and why.
    Malformed(usize, String),
    /// Something that more text decides.
    More,
    /// This many bytes are plain text.
    Text(usize),
}

const START: &[u8] = b"<!--#";
const END: &[u8] = b"-->";
/// Longest names of commands and parameters.
const LONGEST_NAME: usize = 32;

/// Looks at the front of a text. `longest_value` is `ssi_value_length`.
pub(super) fn step(text: &[u8], longest_value: usize) -> Step {
    match memchr::memchr_iter(b'<', text).find(|&at| is_start(&text[at..])) {
        None if text.is_empty() => Step::More,
        None => Step::Text(text.len()),
        Some(0) if text.len() < START.len() => Step::More,
        Some(0) => command(text, longest_value),
        Some(at) => Step::Text(at),
    }
}

/// Whether a command begins here, as far as can be seen.
fn is_start(text: &[u8]) -> bool {
    let seen = text.len().min(START.len());
    text[..seen] == START[..seen]
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Why a command can't be read.
enum Trouble {
    More,
    Wrong(String),
}

fn wrong(args: std::fmt::Arguments<'_>) -> Trouble {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = text.write_fmt(args);
    Trouble::Wrong(text)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    longest_value: usize,
}

fn command(text: &[u8], longest_value: usize) -> Step {
    let mut reader = Reader { text, at: START.len(), longest_value };
    match reader.command() {
        Ok(command) => Step::Command(reader.at, command),
        Err(Trouble::More) => Step::More,
        // What is wrong goes as far as the next end of a command.
        Err(Trouble::Wrong(reason)) => match memchr::memmem::find(&text[reader.at..], END) {
            Some(end) => Step::Malformed(reader.at + end + END.len(), reason),
            None => Step::More,
        },
    }
}

impl Reader<'_> {
    fn peek(&self) -> Result<u8, Trouble> {
        self.text.get(self.at).copied().ok_or(Trouble::More)
    }

    fn skip_spaces(&mut self) -> Result<u8, Trouble> {
        while is_space(self.peek()?) {
            self.at += 1;
        }
        self.peek()
    }

    fn command(&mut self) -> Result<Command, Trouble> {
        self.skip_spaces()?;
        let mut command = Command::default();
        loop {
            let byte = self.peek()?;
            if is_space(byte) || byte == b'-' {
                break;
            }
            if command.name.len() == LONGEST_NAME {
                let (name, byte) = (command.name.escape_ascii(), char::from(byte));
                return Err(wrong(format_args!("the \"{name}{byte}...\" SSI command is too long")));
            }
            command.name.push(byte);
            self.at += 1;
        }
        loop {
            if self.skip_spaces()? == b'-' {
                self.end(&command)?;
                return Ok(command);
            }
            let key = self.key(&command)?;
            let value = self.value(&command, &key)?;
            let name = command.name.escape_ascii().to_string();
            command.params.push((key, value));
            let byte = self.peek()?;
            if !is_space(byte) && byte != b'-' {
                let (byte, key) =
                    (char::from(byte), command.params.last().map(|(key, _)| key.escape_ascii().to_string()));
                let key = key.unwrap_or_default();
                let text = "SSI command";
                return Err(wrong(format_args!(
                    "unexpected \"{byte}\" symbol after \"{key}\" value in \"{name}\" {text}"
                )));
            }
        }
    }

    fn end(&mut self, command: &Command) -> Result<(), Trouble> {
        for &expected in END {
            let byte = self.peek()?;
            if byte != expected {
                let (byte, name) = (char::from(byte), command.name.escape_ascii());
                return Err(wrong(format_args!("unexpected \"{byte}\" symbol in \"{name}\" SSI command")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn key(&mut self, command: &Command) -> Result<Vec<u8>, Trouble> {
        let name = command.name.escape_ascii();
        let mut key = Vec::new();
        loop {
            let byte = self.peek()?;
            match byte {
                b'=' => break,
                byte if is_space(byte) => break,
                b'-' => {
                    let key = key.escape_ascii();
                    let text =
                        format_args!("unexpected \"-\" symbol after \"{key}\" parameter in \"{name}\" SSI command");
                    return Err(wrong(text));
                }
                byte if key.len() == LONGEST_NAME => {
                    let (key, byte) = (key.escape_ascii(), char::from(byte));
                    return Err(wrong(format_args!("too long \"{key}{byte}...\" parameter in \"{name}\" SSI command")));
                }
                byte => key.push(byte.to_ascii_lowercase()),
            }
            self.at += 1;
        }
        let byte = self.skip_spaces()?;
        if byte != b'=' {
            let (byte, key) = (char::from(byte), key.escape_ascii());
            let text = format_args!("unexpected \"{byte}\" symbol after \"{key}\" parameter in \"{name}\" SSI command");
            return Err(wrong(text));
        }
        self.at += 1;
        Ok(key)
    }

    fn value(&mut self, command: &Command, key: &[u8]) -> Result<Vec<u8>, Trouble> {
        let (name, key) = (command.name.escape_ascii(), key.escape_ascii());
        let quote = self.skip_spaces()?;
        if quote != b'"' && quote != b'\'' {
            let byte = char::from(quote);
            let text = format_args!(
                "unexpected \"{byte}\" symbol before value of \"{key}\" parameter in \"{name}\" SSI command"
            );
            return Err(wrong(text));
        }
        self.at += 1;
        let mut value = Vec::new();
        let mut quoted = false;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            if byte == quote && !quoted {
                return Ok(value);
            }
            quoted = byte == b'\\' && !quoted;
            if value.len() == self.longest_value {
                let (value, byte) = (value.escape_ascii(), char::from(byte));
                let place = format_args!("value of \"{key}\" parameter in \"{name}\" SSI command");
                return Err(wrong(format_args!("too long \"{value}{byte}...\" {place}")));
            }
            value.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Step {
        step(text.as_bytes(), 20)
    }

    #[test]
    fn text_passes_up_to_what_may_be_a_command() {
        assert_eq!(parsed("a < b <!-- c --> d"), Step::Text(18));
        assert_eq!(parsed("ab<!--#x -->"), Step::Text(2));
        assert_eq!(parsed("ab<!-"), Step::Text(2));
        assert_eq!(parsed("<!--"), Step::More);
        assert_eq!(parsed("<!--#echo var="), Step::More);
    }

    #[test]
    fn commands_have_parameters_in_either_quotes() {
        let Step::Command(length, command) = parsed("<!--# echo VAR = 'a\\'b' default=\"\"-->x") else { panic!() };
        assert_eq!(length, 37);
        assert_eq!(command.name, b"echo");
        assert_eq!((command.param("var"), command.param("default")), (Some(&b"a\\'b"[..]), Some(&b""[..])));
    }

    #[test]
    fn what_is_wrong_is_named_and_skipped() {
        let reason = |text: &str| match parsed(text) {
            Step::Malformed(length, reason) if length == text.len() => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(
            reason("<!--#set var=x -->"),
            "unexpected \"x\" symbol before value of \"var\" parameter in \"set\" SSI command"
        );
        assert_eq!(reason("<!--#if a-->"), "unexpected \"-\" symbol after \"a\" parameter in \"if\" SSI command");
        assert_eq!(
            reason("<!--#set value=\"123456789012345678901\" -->"),
            "too long \"123456789012345678901...\" value of \"value\" parameter in \"set\" SSI command"
        );
        assert!(reason("<!--#aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -->").ends_with("SSI command is too long"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = step(&[b"<!--#", &bytes[..]].concat(), 8);
            let _ = step(&bytes, 8);
        }
    }
}
