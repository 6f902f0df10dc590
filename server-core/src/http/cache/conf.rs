//! The settings of caches, and the functions of their directives.

use std::rc::Rc;
use std::time::Duration;

use rsty_diag::Diagnostic;

use super::zone::CacheZone;
use crate::conf::value::{self, invalid_value};
use crate::conf::{Directive, Word};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::Scope;
use crate::http::method::Method;
use crate::http::setting::Setting;
use crate::http::upstream::Failure;

/// One rule of `cache_valid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Valid {
    /// The status it is for; 0 is any.
    pub(crate) status: u16,
    /// How long such a response is fresh; zero: it isn't kept.
    pub(crate) time: Duration,
}

/// Which cache is used.
#[derive(Clone)]
pub(crate) enum Which {
    /// None.
    Off,
    /// That of this name.
    Named(Box<[u8]>),
    /// That whose name variables say.
    Variable(Rc<ComplexValue>),
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $default:expr;)+) => {
        /// Settings of a location. The names are those of the directives, without `PROTOCOL_cache_`.
        #[derive(Default)]
        pub(crate) struct CacheConf {
            $($(#[$doc])* pub(crate) $name: Setting<$ty>,)+
        }

        impl CacheConf {
            /// Takes over what is unset here.
            pub(crate) fn merge(&mut self, outer: &Self) {
                $(self.$name.merge(&outer.$name, || $default);)+
            }
        }
    };
}

settings! {
    /// Which cache is used.
    zone: Which = Which::Off;
    key: Option<Rc<ComplexValue>> = None;
    valid: Rc<Vec<Valid>> = Rc::default();
    /// Values one of which keeps a request from being answered by the cache.
    bypass: Rc<Vec<ComplexValue>> = Rc::default();
    /// Values one of which keeps a response from being kept.
    no_cache: Rc<Vec<ComplexValue>> = Rc::default();
    /// Methods whose responses are kept, as bits.
    methods: u32 = Method::GET.0 | Method::HEAD.0;
    min_uses: u64 = 1;
    /// Where a range may begin at most that makes a whole response be fetched and kept; `None` is anywhere.
    max_range_offset: Option<u64> = None;
    /// Failures after which a stale response is used, as bits.
    use_stale: u32 = 0;
    lock: bool = false;
    lock_timeout: Duration = Duration::from_secs(5);
    lock_age: Duration = Duration::from_secs(5);
    revalidate: bool = false;
    background_update: bool = false;
    convert_head: bool = true;
}

impl CacheConf {
    /// Whether responses may be kept.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(*self.zone, Which::Off)
    }
}

/// A value that says yes: neither empty nor `0`.
pub(crate) fn any_says_yes(values: &[ComplexValue], r: &crate::http::Request) -> bool {
    values.iter().any(|value| !matches!(&value.eval(r)[..], b"" | b"0"))
}

/// The rules of caches, as an array to stand beside a module's table.
macro_rules! cache_rules {
    ($prefix:literal, $module:ident) => {{
        use $crate::conf::{Arity, Contexts, Rule};
        use $crate::http::cache::conf;
        use $crate::http::upstream::rules::{self, ONE, SOME, rule, setting};
        &[
            Rule {
                name: concat!($prefix, "_cache_path"),
                contexts: Contexts::HTTP,
                args: Arity::Words(2, Arity::MANY),
                apply: conf::path,
            },
            rule(concat!($prefix, "_cache"), ONE, |scope, directive| {
                let which = conf::which(scope, directive)?;
                rules::set(scope.loc.$module.upstream.cache.zone.slot(), directive, which)
            }),
            rule(concat!($prefix, "_cache_key"), ONE, |scope, directive| {
                let key = rules::compile(scope, directive)?;
                rules::set(scope.loc.$module.upstream.cache.key.slot(), directive, Some(key))
            }),
            rule(concat!($prefix, "_cache_valid"), SOME, |scope, directive| {
                conf::valid(&mut scope.loc.$module.upstream.cache, directive)
            }),
            rule(concat!($prefix, "_cache_bypass"), SOME, |scope, directive| {
                let values = conf::values(scope, directive)?;
                conf::extend(scope.loc.$module.upstream.cache.bypass.slot(), values);
                Ok(())
            }),
            rule(concat!($prefix, "_no_cache"), SOME, |scope, directive| {
                let values = conf::values(scope, directive)?;
                conf::extend(scope.loc.$module.upstream.cache.no_cache.slot(), values);
                Ok(())
            }),
            rule(concat!($prefix, "_cache_methods"), SOME, |scope, directive| {
                let warnings = conf::methods(&mut scope.loc.$module.upstream.cache, directive)?;
                rules::warn(scope, warnings);
                Ok(())
            }),
            rule(concat!($prefix, "_cache_use_stale"), SOME, |scope, directive| {
                let warnings = conf::use_stale(&mut scope.loc.$module.upstream.cache, directive)?;
                rules::warn(scope, warnings);
                Ok(())
            }),
            rule(concat!($prefix, "_cache_max_range_offset"), ONE, |scope, directive| {
                let offset = conf::range_offset(directive)?;
                rules::set(scope.loc.$module.upstream.cache.max_range_offset.slot(), directive, Some(offset))
            }),
            setting!($module, concat!($prefix, "_cache_min_uses"), ONE, set_number, cache.min_uses),
            setting!($module, concat!($prefix, "_cache_lock"), Arity::Flag, set_flag, cache.lock),
            setting!($module, concat!($prefix, "_cache_lock_timeout"), ONE, set_msec, cache.lock_timeout),
            setting!($module, concat!($prefix, "_cache_lock_age"), ONE, set_msec, cache.lock_age),
            setting!($module, concat!($prefix, "_cache_revalidate"), Arity::Flag, set_flag, cache.revalidate),
            setting!(
                $module,
                concat!($prefix, "_cache_background_update"),
                Arity::Flag,
                set_flag,
                cache.background_update
            ),
        ]
    }};
}
pub(crate) use cache_rules;

/// `cache_path FOLDER keys_zone=NAME:SIZE …`
pub(crate) fn path(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let (folder, parameters) = directive.args.split_first().ok_or_else(|| invalid_value(directive))?;
    let folder = scope.cycle.full_path(&folder.text);
    let mut keys_zone: Option<(&[u8], usize)> = None;
    let mut levels = [0; 3];
    let mut inactive = Duration::from_mins(10);
    let mut max_size = None;
    let mut in_place = true;
    let mut min_free = 0;
    for word in parameters {
        let (name, text) = match memchr::memchr(b'=', &word.text) {
            Some(at) => (&word.text[..at], &word.text[at + 1..]),
            None => (&word.text[..], &b""[..]),
        };
        let invalid = || {
            let name = String::from_utf8_lossy(name);
            directive.error_at(word, "invalid_value", format!("invalid {name} value \"{}\"", word.lossy()))
        };
        match name {
            b"levels" => levels = levels_of(text).ok_or_else(invalid)?,
            b"keys_zone" => keys_zone = Some(zone_of(directive, word, text)?),
            b"inactive" => inactive = value::time(text, value::Resolution::Seconds).ok_or_else(invalid)?,
            b"max_size" => max_size = Some(value::offset(text).ok_or_else(invalid)?),
            b"use_temp_path" if text == b"on" || text == b"off" => in_place = text == b"off",
            b"min_free" => min_free = value::offset(text).ok_or_else(invalid)?,
            // The pace of the manager is its own; files are not read when the server starts.
            b"loader_files" | b"manager_files" => {
                value::number(text).ok_or_else(invalid)?;
            }
            b"loader_sleep" | b"loader_threshold" | b"manager_sleep" | b"manager_threshold" => {
                value::time(text, value::Resolution::Milliseconds).ok_or_else(invalid)?;
            }
            _ => {
                let message = format!("invalid parameter \"{}\"", word.lossy());
                return Err(directive.error_at(word, "invalid_parameter", message));
            }
        }
    }
    let Some((name, size)) = keys_zone else {
        let message = format!("\"{}\" must have \"keys_zone\" parameter", directive.name());
        return Err(directive.error("no_keys_zone", message));
    };
    let kind = match &*directive.name.text {
        b"fastcgi_cache_path" => "fastcgi_cache_path",
        b"scgi_cache_path" => "scgi_cache_path",
        b"uwsgi_cache_path" => "uwsgi_cache_path",
        _ => "proxy_cache_path",
    };
    scope.declare_zone(directive, kind, name)?;
    if scope.main.upstream.caches.iter().any(|cache| *cache.name == *name) {
        let message = format!("duplicate zone \"{}\"", String::from_utf8_lossy(name));
        return Err(directive.error("duplicate_zone", message));
    }
    let mut cache = CacheZone::new(name, size, folder);
    if !scope.cycle.testing {
        std::fs::create_dir_all(&cache.folder).map_err(|error| {
            directive.error("folder", format!("mkdir() \"{}\" failed ({error})", cache.folder.display()))
        })?;
    }
    (cache.levels, cache.inactive, cache.max_size, cache.in_place) = (levels, inactive, max_size, in_place);
    cache.min_free = min_free;
    scope.main.upstream.caches.push(std::sync::Arc::new(cache));
    Ok(())
}

fn levels_of(text: &[u8]) -> Option<[usize; 3]> {
    let mut levels = [0; 3];
    let words: Vec<&[u8]> = text.split(|byte| *byte == b':').collect();
    if words.len() > 3 {
        return None;
    }
    for (level, word) in levels.iter_mut().zip(words) {
        *level = match word {
            b"1" => 1,
            b"2" => 2,
            _ => return None,
        };
    }
    Some(levels)
}

fn zone_of<'a>(directive: &Directive, word: &Word, text: &'a [u8]) -> Result<(&'a [u8], usize), Diagnostic> {
    /// Pages that a zone must have at least.
    const LEAST: usize = 2 * 4096;
    let invalid = || directive.error_at(word, "invalid_value", format!("invalid keys zone size \"{}\"", word.lossy()));
    let colon = memchr::memchr(b':', text).filter(|at| *at > 0).ok_or_else(invalid)?;
    let size = value::size(&text[colon + 1..]).ok_or_else(invalid)?;
    if size < LEAST {
        let message = format!("keys zone \"{}\" is too small", word.lossy());
        return Err(directive.error_at(word, "invalid_value", message));
    }
    Ok((&text[..colon], size))
}

/// `cache NAME | off`
pub(crate) fn which(scope: &mut Scope<'_>, directive: &Directive) -> Result<Which, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    if word.is("off") {
        return Ok(Which::Off);
    }
    if word.text.contains(&b'$') {
        return Ok(Which::Variable(Rc::new(ComplexValue::of_word(scope, directive, word)?)));
    }
    // The zone may be defined further down.
    scope.main.upstream.cache_uses.push((word.text.clone(), directive.clone()));
    Ok(Which::Named(word.text.clone()))
}

/// `cache_valid [STATUS …] TIME`
pub(crate) fn valid(conf: &mut CacheConf, directive: &Directive) -> Result<(), Diagnostic> {
    let (last, statuses) = directive.args.split_last().ok_or_else(|| invalid_value(directive))?;
    let time = value::time(&last.text, value::Resolution::Seconds)
        .ok_or_else(|| directive.error_at(last, "invalid_value", format!("invalid time value \"{}\"", last.lossy())))?;
    let list = Rc::make_mut(conf.valid.slot().get_or_insert_default());
    if statuses.is_empty() {
        list.extend([200, 301, 302].map(|status| Valid { status, time }));
    }
    for word in statuses {
        let status = match &*word.text {
            b"any" => 0,
            text => {
                let status = value::number(text).filter(|status| (100..=599).contains(status));
                let status = status.and_then(|status| u16::try_from(status).ok());
                status.ok_or_else(|| {
                    directive.error_at(word, "invalid_value", format!("invalid status \"{}\"", word.lossy()))
                })?
            }
        };
        list.push(Valid { status, time });
    }
    Ok(())
}

/// `cache_max_range_offset SIZE`
pub(crate) fn range_offset(directive: &Directive) -> Result<u64, Diagnostic> {
    let word = directive.arg(0).ok_or_else(|| invalid_value(directive))?;
    value::offset(&word.text).ok_or_else(|| invalid_value(directive))
}

/// All arguments as values with variables.
pub(crate) fn values(scope: &mut Scope<'_>, directive: &Directive) -> Result<Vec<ComplexValue>, Diagnostic> {
    directive.args.iter().map(|word| ComplexValue::of_word(scope, directive, word)).collect()
}

/// Appends to a list.
pub(crate) fn extend(slot: &mut Option<Rc<Vec<ComplexValue>>>, values: Vec<ComplexValue>) {
    // A list that is being read belongs to its level alone.
    if let Some(list) = Rc::get_mut(slot.get_or_insert_default()) {
        list.extend(values);
    }
}

/// `cache_methods`
pub(crate) fn methods(conf: &mut CacheConf, directive: &Directive) -> Result<Vec<Diagnostic>, Diagnostic> {
    const WORDS: &[(&str, u32)] = &[("GET", Method::GET.0), ("HEAD", Method::HEAD.0), ("POST", Method::POST.0)];
    let warnings = value::set_bits(conf.methods.slot(), directive, WORDS)?;
    if let Some(methods) = conf.methods.slot() {
        *methods |= Method::GET.0 | Method::HEAD.0;
    }
    Ok(warnings)
}

/// `cache_use_stale`
pub(crate) fn use_stale(conf: &mut CacheConf, directive: &Directive) -> Result<Vec<Diagnostic>, Diagnostic> {
    const WORDS: &[(&str, u32)] = &[
        ("error", Failure::ERROR.0 | Failure::NO_LIVE.0),
        ("timeout", Failure::TIMEOUT.0),
        ("invalid_header", Failure::INVALID_HEADER.0),
        ("updating", Failure::UPDATING.0),
        ("http_500", Failure::HTTP_500.0),
        ("http_502", Failure::HTTP_502.0),
        ("http_503", Failure::HTTP_503.0),
        ("http_504", Failure::HTTP_504.0),
        ("http_403", Failure::HTTP_403.0),
        ("http_404", Failure::HTTP_404.0),
        ("http_429", Failure::HTTP_429.0),
        ("off", Failure::OFF.0),
    ];
    let slot = conf.use_stale.slot();
    let warnings = value::set_bits(slot, directive, WORDS)?;
    if let Some(bits) = slot
        && *bits & Failure::OFF.0 != 0
    {
        *bits = 0;
    }
    Ok(warnings)
}
