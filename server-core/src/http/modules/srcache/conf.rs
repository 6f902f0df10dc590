//! The directives `srcache_*`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use crate::conf::value::{invalid_value, push_string, set_bits, set_flag, set_sec, set_size};
use crate::conf::{Arity, Contexts, Directive, Rule, Word, rule};
use crate::http::complex_value::ComplexValue;
use crate::http::conf::{Merge, Scope};
use crate::http::method::Method;
use crate::http::setting::Setting;
use crate::http::upstream::rules::{self, ONE, SOME, set, warn};

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// A subrequest that a directive describes.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) method_name: Bytes,
    pub(super) location: ComplexValue,
    pub(super) args: Option<ComplexValue>,
}

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    /// `srcache_fetch`
    pub(super) fetch: Option<Rc<Call>>,
    /// `srcache_store`
    pub(super) store: Option<Rc<Call>>,
    /// `srcache_fetch_skip`
    pub(super) fetch_skip: Option<Rc<ComplexValue>>,
    /// `srcache_store_skip`
    pub(super) store_skip: Option<Rc<ComplexValue>>,
    /// `srcache_store_statuses`
    pub(super) statuses: Option<Rc<[u16]>>,
    methods: Option<u32>,
    /// `srcache_store_max_size`; 0 is no limit.
    pub(super) max_size: Setting<usize>,
    /// `srcache_header_buffer_size`: the longest line of a kept head.
    pub(super) header_buffer_size: Setting<usize>,
    /// `srcache_request_cache_control`
    pub(super) request_cache_control: Setting<bool>,
    /// `srcache_response_cache_control`
    pub(super) response_cache_control: Setting<bool>,
    /// `srcache_store_private`
    pub(super) store_private: Setting<bool>,
    /// `srcache_store_no_store`
    pub(super) store_no_store: Setting<bool>,
    /// `srcache_store_no_cache`
    pub(super) store_no_cache: Setting<bool>,
    /// `srcache_store_ranges`
    pub(super) store_ranges: Setting<bool>,
    /// `srcache_ignore_content_encoding`
    pub(super) ignore_content_encoding: Setting<bool>,
    max_expire: Setting<Duration>,
    default_expire: Setting<Duration>,
    hide: Option<Vec<Box<[u8]>>>,
    pass: Option<Vec<Box<[u8]>>>,
}

/// Headers of a response that are not kept, unless `srcache_store_pass_header` wants them.
const HIDDEN: [&[u8]; 9] = [
    b"Connection",
    b"Keep-Alive",
    b"Proxy-Authenticate",
    b"Proxy-Authorization",
    b"TE",
    b"Trailers",
    b"Transfer-Encoding",
    b"Upgrade",
    b"Set-Cookie",
];

impl LocConf {
    /// Whether responses are fetched or stored here.
    pub(crate) fn is_on(&self) -> bool {
        self.fetch.is_some() || self.store.is_some()
    }

    /// The methods whose responses are fetched and stored.
    pub(super) fn methods(&self) -> u32 {
        self.methods.unwrap_or(0) | Method::GET.0 | Method::HEAD.0
    }

    /// Seconds for which responses are kept that don't say for how long.
    pub(super) fn default_expire(&self) -> i64 {
        i64::try_from(self.default_expire.as_secs()).unwrap_or(i64::MAX)
    }

    /// The most seconds; 0 is no limit.
    pub(super) fn max_expire(&self) -> i64 {
        i64::try_from(self.max_expire.as_secs()).unwrap_or(i64::MAX)
    }

    /// Whether a header is kept out of the cache.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        let is_in = |list: &Option<Vec<Box<[u8]>>>| {
            list.as_ref().is_some_and(|list| list.iter().any(|known| known.eq_ignore_ascii_case(name)))
        };
        (is_in(&self.hide) || HIDDEN.iter().any(|known| known.eq_ignore_ascii_case(name))) && !is_in(&self.pass)
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        macro_rules! inherit {
            ($($field:ident),+) => { $(if self.$field.is_none() { self.$field.clone_from(&outer.$field); })+ };
        }
        inherit!(fetch, store, fetch_skip, store_skip, statuses, methods, hide, pass);
        macro_rules! settings {
            ($($field:ident: $default:expr),+ $(,)?) => { $(self.$field.merge(&outer.$field, || $default);)+ };
        }
        settings!(
            max_size: 0,
            header_buffer_size: 4096,
            request_cache_control: false,
            response_cache_control: true,
            store_private: false,
            store_no_store: false,
            store_no_cache: false,
            store_ranges: false,
            ignore_content_encoding: false,
            max_expire: Duration::ZERO,
            default_expire: Duration::from_mins(1),
        );
        Ok(())
    }
}

/// Where the subrequests and conditions may stand.
const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION_IF;
/// Where the other settings may stand.
const OUTER: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    rule("srcache_fetch", USUAL, Arity::Words(2, 3), |scope, directive| {
        let call = call(scope, directive)?;
        set(&mut scope.loc.srcache.fetch, directive, call)
    }),
    rule("srcache_store", USUAL, Arity::Words(2, 3), |scope, directive| {
        let call = call(scope, directive)?;
        set(&mut scope.loc.srcache.store, directive, call)
    }),
    rule("srcache_fetch_skip", USUAL, ONE, |scope, directive| {
        let value = rules::compile(scope, directive)?;
        set(&mut scope.loc.srcache.fetch_skip, directive, value)
    }),
    rule("srcache_store_skip", USUAL, ONE, |scope, directive| {
        let value = rules::compile(scope, directive)?;
        set(&mut scope.loc.srcache.store_skip, directive, value)
    }),
    rule("srcache_store_statuses", USUAL, SOME, |scope, directive| {
        let statuses = directive.args.iter().map(|word| status(directive, word)).collect::<Result<_, _>>()?;
        set(&mut scope.loc.srcache.statuses, directive, statuses)
    }),
    rule("srcache_methods", OUTER, SOME, |scope, directive| {
        let words = [
            ("GET", Method::GET.0),
            ("HEAD", Method::HEAD.0),
            ("POST", Method::POST.0),
            ("PUT", Method::PUT.0),
            ("DELETE", Method::DELETE.0),
        ];
        let warnings = set_bits(&mut scope.loc.srcache.methods, directive, &words)?;
        warn(scope, warnings);
        Ok(())
    }),
    rule("srcache_store_max_size", USUAL, ONE, |scope, directive| {
        set_size(scope.loc.srcache.max_size.slot(), directive)
    }),
    rule("srcache_header_buffer_size", USUAL, ONE, |scope, directive| {
        set_size(scope.loc.srcache.header_buffer_size.slot(), directive)
    }),
    rule("srcache_max_expire", USUAL, ONE, |scope, directive| set_sec(scope.loc.srcache.max_expire.slot(), directive)),
    rule("srcache_default_expire", USUAL, ONE, |scope, directive| {
        set_sec(scope.loc.srcache.default_expire.slot(), directive)
    }),
    rule("srcache_request_cache_control", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.request_cache_control.slot(), directive)
    }),
    rule("srcache_response_cache_control", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.response_cache_control.slot(), directive)
    }),
    rule("srcache_store_private", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.store_private.slot(), directive)
    }),
    rule("srcache_store_no_store", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.store_no_store.slot(), directive)
    }),
    rule("srcache_store_no_cache", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.store_no_cache.slot(), directive)
    }),
    rule("srcache_store_ranges", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.store_ranges.slot(), directive)
    }),
    rule("srcache_ignore_content_encoding", OUTER, Arity::Flag, |scope, directive| {
        set_flag(scope.loc.srcache.ignore_content_encoding.slot(), directive)
    }),
    rule("srcache_store_hide_header", OUTER, ONE, |scope, directive| {
        push_string(&mut scope.loc.srcache.hide, directive)
    }),
    rule("srcache_store_pass_header", OUTER, ONE, |scope, directive| {
        push_string(&mut scope.loc.srcache.pass, directive)
    }),
];

/// `METHOD LOCATION [ARGS]`
fn call(scope: &mut Scope<'_>, directive: &Directive) -> Result<Rc<Call>, Diagnostic> {
    let [method, location, args @ ..] = &directive.args[..] else { return Err(invalid_value(directive)) };
    let known = Method::of(&method.text);
    if known == Method::UNKNOWN {
        let message = format!("{} specifies bad HTTP method {}", directive.name(), method.lossy());
        return Err(directive.error_at(method, "bad_method", message));
    }
    let location = ComplexValue::of_word(scope, directive, location)?;
    let args = args.first().filter(|args| !args.text.is_empty());
    let args = args.map(|args| ComplexValue::of_word(scope, directive, args)).transpose()?;
    Ok(Rc::new(Call { method: known, method_name: Bytes::copy_from_slice(&method.text), location, args }))
}

fn status(directive: &Directive, word: &Word) -> Result<u16, Diagnostic> {
    let number = std::str::from_utf8(&word.text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let message = format!("status code \"{}\" is an invalid number", word.lossy());
        directive.error_at(word, "invalid_number", message)
    })
}
