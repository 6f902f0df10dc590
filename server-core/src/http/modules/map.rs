//! `ngx_http_map_module`: variables whose values follow those of others.

use std::collections::HashMap;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::{Arity, Block, Contexts, Directive, Rule, Word};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::regex::{Case, Regex};
use crate::http::request::Request;
use crate::http::variables::{Flags, Source};

/// Settings of `http { }`: all maps; a variable knows its map by index.
#[derive(Default)]
pub struct MainConf {
    maps: Vec<Map>,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// One `map` block.
struct Map {
    source: ComplexValue,
    hostnames: bool,
    exact: HashMap<Box<[u8]>, ComplexValue>,
    /// Suffixes of names (`.example.com`), for `*.example.com`.
    heads: HashMap<Box<[u8]>, ComplexValue>,
    /// Prefixes of names (`www.example.`), for `www.example.*`.
    tails: HashMap<Box<[u8]>, ComplexValue>,
    regexes: Vec<(Regex, ComplexValue)>,
    default: Option<ComplexValue>,
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "map", contexts: Contexts::HTTP, args: Arity::Block(2, 2), apply: map },
    Rule { name: "map_hash_max_size", contexts: Contexts::HTTP, args: Arity::Words(1, 1), apply: |_, _| Ok(()) },
    Rule { name: "map_hash_bucket_size", contexts: Contexts::HTTP, args: Arity::Words(1, 1), apply: |_, _| Ok(()) },
];

fn map(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let ([source, name], Block::Directives(entries)) = (&directive.args[..], &directive.block) else { return Ok(()) };
    let mut map = Map {
        source: ComplexValue::of_word(scope, directive, source)?,
        hostnames: false,
        exact: HashMap::new(),
        heads: HashMap::new(),
        tails: HashMap::new(),
        regexes: Vec::new(),
        default: None,
    };
    let mut flags = Flags::CHANGEABLE;
    for entry in entries {
        match (&*entry.name.text, &entry.args[..]) {
            (b"hostnames", []) => map.hostnames = true,
            (b"volatile", []) => flags = flags.or(Flags::NO_CACHE),
            (_, [value]) => map.add(scope, entry, value)?,
            _ => return Err(entry.error("invalid_parameter", "invalid number of the map parameters")),
        }
    }
    let Some(variable) = name.text.strip_prefix(b"$") else {
        let message = format!("invalid variable name \"{}\"", name.lossy());
        return Err(directive.error_at(name, "invalid_variable", message));
    };
    let index = scope.main.map.maps.len();
    scope.main.map.maps.push(map);
    let variables = &mut scope.main.core.variables;
    let defined = variables.define(variable, Source::Getter(value, index), None, flags);
    defined.map_err(|error| directive.error_at(name, "duplicate_variable", error.to_string()))
}

impl Map {
    fn add(&mut self, scope: &mut Scope<'_>, entry: &Directive, value: &Word) -> Result<(), Diagnostic> {
        let value = ComplexValue::of_word(scope, entry, value)?;
        let conflict = || entry.error("duplicate_value", format!("conflicting parameter \"{}\"", entry.name()));
        let key = &*entry.name.text;
        if key == b"default" {
            if self.default.is_some() {
                return Err(entry.error("duplicate_value", "duplicate default map parameter"));
            }
            self.default = Some(value);
            return Ok(());
        }
        if let Some(pattern) = key.strip_prefix(b"~") {
            let (pattern, case) = match pattern.strip_prefix(b"*") {
                Some(pattern) => (pattern, Case::Insensitive),
                None => (pattern, Case::Sensitive),
            };
            let regex = Regex::of_word(scope, entry, &entry.name, pattern, case)?;
            self.regexes.push((regex, value));
            return Ok(());
        }
        let key = key.strip_prefix(b"\\").unwrap_or(key).to_ascii_lowercase();
        if self.hostnames
            && let Some(name) = key.strip_prefix(b".")
        {
            let also_exact = self.exact.insert(name.into(), value.clone());
            let replaced = self.heads.insert(key.into(), value);
            return if also_exact.or(replaced).is_some() { Err(conflict()) } else { Ok(()) };
        }
        let wildcard = self.hostnames && key.contains(&b'*');
        let replaced = match (key.strip_prefix(b"*."), key.strip_suffix(b".*")) {
            (Some(_), _) if wildcard => self.heads.insert(key[1..].into(), value),
            (_, Some(_)) if wildcard => self.tails.insert(key[..key.len() - 1].into(), value),
            _ if wildcard => {
                let message = format!("invalid hostname or wildcard \"{}\"", entry.name());
                return Err(entry.error("invalid_value", message));
            }
            _ => self.exact.insert(key.into(), value),
        };
        if replaced.is_some() { Err(conflict()) } else { Ok(()) }
    }

    fn find(&self, r: &Request) -> Option<&ComplexValue> {
        let key = self.source.eval(r);
        let mut lower = key.to_ascii_lowercase();
        if self.hostnames && lower.last() == Some(&b'.') {
            lower.pop();
        }
        if let Some(value) = self.exact.get(&*lower) {
            return Some(value);
        }
        if self.hostnames {
            let dots = || lower.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
            if let Some(value) = dots().find_map(|at| self.heads.get(&lower[at..])) {
                return Some(value);
            }
            let mut tails: Vec<usize> = dots().collect();
            tails.reverse();
            if let Some(value) = tails.into_iter().find_map(|at| self.tails.get(&lower[..=at])) {
                return Some(value);
            }
        }
        // A pattern that fails at run time counts as no match.
        let regex = self.regexes.iter().find(|(regex, _)| regex.exec(r, &key).unwrap_or(false));
        regex.map(|(_, value)| value).or(self.default.as_ref())
    }
}

fn value(r: &Request, index: usize) -> Option<Bytes> {
    let map = r.main_conf().map.maps.get(index)?;
    Some(map.find(r).map(|value| value.eval(r)).unwrap_or_default())
}
