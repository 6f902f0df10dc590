//! Interpolation, matching, substitution, transliteration.

use std::rc::Rc;

use crate::model::{HashMap, Regex, Value};
use crate::perl::ast::{Case, Expr, MatchPattern, Part, Pattern};

use super::memory::Subject;
use super::place::Place;
use super::{Captures, Interpreter, Outcome};

impl Interpreter {
    /// The text that parts make.
    pub(super) fn text_of(&mut self, parts: &[Part]) -> Outcome<Vec<u8>> {
        let mut text = Vec::new();
        for part in parts {
            match part {
                Part::Literal(literal) => text.extend_from_slice(literal),
                Part::Scalar(expr) => {
                    let value = self.scalar(expr)?;
                    match &value {
                        Value::Str(bytes) => text.extend_from_slice(bytes),
                        other => text.extend_from_slice(&other.to_bytes()),
                    }
                }
                Part::Join(expr) => {
                    let separator = self.global("main::\"").to_bytes();
                    let items = self.list(expr)?;
                    for (at, item) in items.iter().enumerate() {
                        if at > 0 {
                            text.extend_from_slice(&separator);
                        }
                        text.extend_from_slice(&item.to_bytes());
                    }
                }
                Part::Case(case, inner) => {
                    let inner = self.text_of(inner)?;
                    text.extend_from_slice(&with_case(*case, inner));
                }
            }
            self.fits(text.len())?;
        }
        Ok(text)
    }

    /// The regex that a literal pattern stands for.
    pub(super) fn regex_of(&mut self, pattern: &Pattern) -> Outcome<Regex> {
        if let Some(fixed) = &pattern.fixed {
            return Ok(fixed.clone());
        }
        // A pattern that is one regex only is that regex.
        if let [Part::Scalar(expr)] = pattern.parts.as_slice() {
            let value = self.scalar(expr)?;
            if let (Value::Regex(regex), true) = (&value, pattern.flags.chars().all(|flag| !"imsxn".contains(flag))) {
                return Ok(regex.clone());
            }
            return Ok(Regex::new(value.to_bytes().to_vec(), &pattern.flags));
        }
        let source = self.text_of(&pattern.parts)?;
        Ok(Regex::new(source, &pattern.flags))
    }

    fn regex_and_flags(&mut self, pattern: &MatchPattern) -> Outcome<(Regex, String)> {
        match pattern {
            MatchPattern::Literal(pattern) => Ok((self.regex_of(pattern)?, pattern.flags.clone())),
            MatchPattern::Dynamic(expr) => match self.scalar(expr)? {
                Value::Regex(regex) => Ok((regex, String::new())),
                other => Ok((Regex::new(other.to_bytes().to_vec(), ""), String::new())),
            },
        }
    }

    fn target_text(&mut self, target: Option<&Expr>) -> Outcome<Rc<Vec<u8>>> {
        Ok(match target {
            Some(target) => self.scalar(target)?.to_bytes(),
            None => self.global("main::_").to_bytes(),
        })
    }

    fn target_place(&mut self, target: Option<&Expr>) -> Outcome<Place> {
        match target {
            Some(target) => self.place_of(target),
            None => Ok(Place::Cell(self.scalar_cell(&"main::_".into()))),
        }
    }

    /// Finds the next match and remembers its groups.
    fn search(&mut self, regex: &Regex, subject: &Rc<Vec<u8>>, from: usize) -> Outcome<Option<(usize, usize)>> {
        self.step()?;
        let found = regex.captures_at(subject, from).map_err(|error| self.die(error.0))?;
        let Some(groups) = found else {
            return Ok(None);
        };
        let names = if regex.source().windows(3).any(|part| part == b"(?<") {
            regex.group_names().map(<[_]>::to_vec).unwrap_or_default()
        } else {
            Vec::new()
        };
        let whole = groups.first().copied().flatten();
        self.captures = Captures { subject: Rc::clone(subject), groups, names };
        Ok(whole)
    }

    pub(super) fn match_scalar(
        &mut self,
        target: Option<&Expr>,
        pattern: &MatchPattern,
        negated: bool,
    ) -> Outcome<Value> {
        let (regex, flags) = self.regex_and_flags(pattern)?;
        if flags.contains('g') {
            return self.match_next(target, &regex, negated, flags.contains('c'));
        }
        let subject = self.target_text(target)?;
        let found = self.search(&regex, &subject, 0)?;
        Ok(Value::bool(found.is_some() != negated))
    }

    /// `//g` in scalar context goes on where the last match in the same variable ended; `keeps` is `//gc`.
    fn match_next(&mut self, target: Option<&Expr>, regex: &Regex, negated: bool, keeps: bool) -> Outcome<Value> {
        let place = self.target_place(target)?;
        let Some(variable) = Subject::of(&place) else {
            return Err(self.unsupported("repeated matching of this"));
        };
        let subject = place.read().to_bytes();
        let (from, was_empty) = self.positions.find(&variable, &subject).unwrap_or((0, false));
        let mut found = self.search(regex, &subject, from)?;
        if was_empty && found == Some((from, from)) {
            found = if from < subject.len() { self.search(regex, &subject, from + 1)? } else { None };
        }
        match found {
            Some((start, end)) => self.positions.set(variable, subject, end, start == end),
            None if keeps => {}
            None => self.positions.clear(&variable),
        }
        Ok(Value::bool(found.is_some() != negated))
    }

    pub(super) fn match_list(
        &mut self,
        target: Option<&Expr>,
        pattern: &MatchPattern,
        out: &mut Vec<Value>,
    ) -> Outcome<()> {
        let (regex, flags) = self.regex_and_flags(pattern)?;
        let repeats = flags.contains('g');
        let place = if repeats { Some(self.target_place(target)?) } else { None };
        let subject = match &place {
            Some(place) => place.read().to_bytes(),
            None => self.target_text(target)?,
        };
        let variable = place.as_ref().and_then(Subject::of);
        let mut from = 0;
        if let Some(variable) = &variable {
            from = self.positions.find(variable, &subject).map_or(0, |(at, _)| at);
            self.positions.clear(variable);
        }
        while let Some((start, end)) = self.search(&regex, &subject, from)? {
            let groups = self.captures.groups.len();
            if groups > 1 {
                for group in 1..groups {
                    out.push(self.group(group));
                }
            } else if repeats {
                out.push(self.group(0));
            } else {
                out.push(Value::Int(1));
            }
            if !repeats {
                break;
            }
            from = if end == start { end + 1 } else { end };
            if from > subject.len() {
                break;
            }
        }
        if let Some(variable) = variable.filter(|_| flags.contains('c')) {
            self.positions.set(variable, subject, from, false);
        }
        Ok(())
    }

    pub(super) fn substitute(
        &mut self,
        target: Option<&Expr>,
        pattern: &Pattern,
        replacement: &Expr,
        flags: &str,
    ) -> Outcome<Value> {
        let regex = self.regex_of(pattern)?;
        let place = self.target_place(target)?;
        let subject = place.read().to_bytes();
        let mut text = Vec::with_capacity(subject.len());
        let (mut from, mut kept, mut count) = (0, 0, 0);
        while let Some((start, end)) = self.search(&regex, &subject, from)? {
            count += 1;
            let mut value = self.scalar(replacement)?;
            if flags.matches('e').count() > 1 {
                let code = value.to_bytes();
                let package = Rc::clone(&self.package);
                let result = self.eval_text(&code, package, false, super::Want::Scalar)?;
                value = result.ok().and_then(|mut values| values.pop()).unwrap_or_default();
            }
            text.extend_from_slice(subject.get(kept..start).unwrap_or_default());
            text.extend_from_slice(&value.to_bytes());
            self.fits(text.len())?;
            kept = end;
            if !flags.contains('g') {
                break;
            }
            from = end;
            if end == start {
                text.extend_from_slice(subject.get(end..=end).unwrap_or_default());
                kept = (end + 1).min(subject.len());
                from = end + 1;
            }
        }
        text.extend_from_slice(subject.get(kept..).unwrap_or_default());
        if flags.contains('r') {
            return Ok(Value::str(text));
        }
        if count > 0 {
            place.write(Value::str(text));
        }
        Ok(if count > 0 { Value::Int(count) } else { Value::bool(false) })
    }

    pub(super) fn transliterate(
        &mut self,
        target: Option<&Expr>,
        from: &[u8],
        to: &[u8],
        flags: &str,
    ) -> Outcome<Value> {
        let place = self.target_place(target)?;
        let subject = place.read().to_bytes();
        let (complement, delete, squeeze) = (flags.contains('c'), flags.contains('d'), flags.contains('s'));
        let mut out = Vec::with_capacity(subject.len());
        let (mut count, mut last) = (0, None);
        for &byte in subject.iter() {
            let position = from.iter().position(|candidate| *candidate == byte);
            let found = if complement { position.is_none().then_some(usize::MAX) } else { position };
            let Some(index) = found else {
                out.push(byte);
                last = None;
                continue;
            };
            count += 1;
            let mapped = match to.get(index) {
                Some(mapped) => Some(*mapped),
                None if delete => None,
                None => to.last().copied().or(Some(byte)),
            };
            if let Some(mapped) = mapped {
                if !(squeeze && last == Some(mapped)) {
                    out.push(mapped);
                }
                last = Some(mapped);
            }
        }
        if flags.contains('r') {
            return Ok(Value::str(out));
        }
        if out != *subject {
            place.write(Value::str(out));
        }
        Ok(Value::Int(count))
    }

    fn group(&self, number: usize) -> Value {
        match self.captures.groups.get(number) {
            Some(Some((start, end))) => Value::str(self.captures.subject.get(*start..*end).unwrap_or_default()),
            _ => Value::Undef,
        }
    }

    /// `$1`, `$&`, `` $` ``, `$'`, `$+`.
    pub(super) fn capture_variable(&self, name: &str) -> Option<Value> {
        let whole = self.captures.groups.first().copied().flatten();
        match name {
            "&" => Some(self.group(0)),
            "`" => whole.map(|(start, _)| Value::str(self.captures.subject.get(..start).unwrap_or_default())),
            "'" => whole.map(|(_, end)| Value::str(self.captures.subject.get(end..).unwrap_or_default())),
            "0" => None,
            _ => name.parse::<usize>().ok().map(|number| self.group(number)),
        }
    }

    /// `%+`.
    pub(super) fn named_captures(&self) -> HashMap {
        let mut map = HashMap::default();
        for (number, name) in self.captures.names.iter().enumerate() {
            if let (Some(name), value @ Value::Str(_)) = (name, self.group(number)) {
                map.insert(name.as_bytes(), value);
            }
        }
        map
    }

    /// `split`.
    pub(super) fn split(&mut self, arguments: &[Expr], out: &mut Vec<Value>) -> Outcome<()> {
        let (regex, awk) = match arguments.first() {
            Some(Expr::Match { pattern, .. }) => match &**pattern {
                MatchPattern::Literal(pattern) => {
                    let regex = self.regex_of(pattern)?;
                    // `^` splits at each line.
                    let flags = if regex.source() == b"^" { "m".to_owned() } else { regex.flags().to_owned() };
                    (Regex::new(regex.source().to_vec(), &flags), false)
                }
                MatchPattern::Dynamic(_) => (self.regex_and_flags(pattern)?.0, false),
            },
            Some(expr) => match self.scalar(expr)? {
                Value::Regex(regex) => (regex, false),
                other if *other.to_bytes() == b" " => (Regex::new("\\s+", ""), true),
                other => (Regex::new(other.to_bytes().to_vec(), ""), false),
            },
            None => (Regex::new("\\s+", ""), true),
        };
        let text = match arguments.get(1) {
            Some(expr) => self.scalar(expr)?.to_bytes(),
            None => self.global("main::_").to_bytes(),
        };
        let limit = match arguments.get(2) {
            Some(expr) => self.scalar(expr)?.to_int(),
            None => 0,
        };
        let first = out.len();
        let subject = if awk { Rc::new(text.trim_ascii_start().to_vec()) } else { text };
        if subject.is_empty() {
            return Ok(());
        }
        let (mut kept, mut from) = (0, 0);
        while limit <= 0 || ((out.len() - first) as i64) < limit - 1 {
            let found = regex.captures_at(&subject, from).map_err(|error| self.die(error.0))?;
            let Some((start, end)) = found.as_ref().and_then(|groups| groups.first().copied().flatten()) else {
                break;
            };
            self.step()?;
            if end == start {
                // An empty match splits between two characters.
                if start >= subject.len() {
                    break;
                }
                if start == kept {
                    from = start + 1;
                    if start == 0 || kept == start {
                        let again = regex.captures_at(&subject, from).map_err(|error| self.die(error.0))?;
                        match again.as_ref().and_then(|groups| groups.first().copied().flatten()) {
                            Some((start, end)) if start < subject.len() => {
                                out.push(Value::str(subject.get(kept..start).unwrap_or_default()));
                                kept = end;
                                from = end;
                            }
                            _ => break,
                        }
                    }
                    continue;
                }
            }
            // A match of some width at the very start yields an empty first field.
            out.push(Value::str(subject.get(kept..start).unwrap_or_default()));
            for group in found.iter().flatten().skip(1) {
                let group = group.and_then(|(start, end)| subject.get(start..end));
                out.push(group.map_or(Value::Undef, Value::str));
            }
            kept = end;
            from = end;
        }
        out.push(Value::str(subject.get(kept..).unwrap_or_default()));
        if limit == 0 {
            while out.len() > first && out.last().is_some_and(|value| value.to_bytes().is_empty()) {
                out.pop();
            }
        }
        Ok(())
    }
}

fn with_case(case: Case, mut text: Vec<u8>) -> Vec<u8> {
    match case {
        Case::Upper => text.make_ascii_uppercase(),
        Case::Lower => text.make_ascii_lowercase(),
        Case::UpperFirst => {
            if let Some(first) = text.first_mut() {
                first.make_ascii_uppercase();
            }
        }
        Case::LowerFirst => {
            if let Some(first) = text.first_mut() {
                first.make_ascii_lowercase();
            }
        }
        Case::Quote => return quoted(&text),
    }
    text
}

/// `quotemeta`.
pub(super) fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for &byte in text {
        if !crate::perl::cursor::is_word(byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}
