//! Regular expressions for `ngx.re`: PCRE2 with JIT, and the replacement templates of `sub` and `gsub`.
//!
//! Lua owns a compiled expression ([`Regex`]) and destroys it when it is collected. It reads the groups of the last
//! match from the expression itself, so the next match of the same expression overwrites them.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use pcre2_sys as pcre2;

use super::template::{self, Part};
use super::{ERROR, NgxStr, OK, bytes, copy_to, export, worker, write_error};
use crate::log::Level;

const FLAG_DFA: c_int = 0x02;
const FLAG_JIT: c_int = 0x04;
const FLAG_NO_UTF_CHECK: c_int = 0x10;
/// Cells that a match without groups has to remember states in.
const DFA_WORKSPACE: usize = 100;
const SMALLEST_JIT_STACK: usize = 32 * 1024;
/// What `lengths` of a template with variables points to. Lua asks whether it is null, and never follows it.
static TEMPLATE_MARK: u8 = 0;

/// `ngx_http_lua_regex_t`: Lua reads all of these fields.
#[expect(clippy::struct_field_names, reason = "the names are those of the C structure")]
#[repr(C)]
pub struct Regex {
    pool: *mut c_void,
    name_table: *const u8,
    name_count: c_int,
    name_entry_size: c_int,
    ncaptures: c_int,
    captures: *mut c_int,
    regex: *mut pcre2::pcre2_code_8,
    regex_sd: *mut c_void,
    replace: *const ComplexValue,
    pattern: *const u8,
    // From here on it is ours.
    groups: Vec<c_int>,
    template: Option<Box<ComplexValue>>,
}

/// `ngx_http_lua_complex_value_t`: a template without variables has no `lengths`.
#[repr(C)]
pub struct ComplexValue {
    value: NgxStr,
    lengths: *const c_void,
    values: *const c_void,
    text: Vec<u8>,
    parts: Vec<Part>,
}

/// `ngx_http_lua_script_engine_t`: what a template is evaluated with.
pub struct Engine {
    subject: *const u8,
    captures: *const c_int,
    /// Entries of `captures` that are valid.
    len: usize,
}

/// Limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `lua_regex_match_limit`; zero is PCRE's own.
    pub match_limit: u32,
    /// `lua_regex_cache_max_entries`.
    pub cache_entries: u32,
}

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { match_limit: 0, cache_entries: 1024 }) };
    static MATCHER: RefCell<Matcher> = const { RefCell::new(Matcher::new()) };
}

/// Sets the limits of this thread's expressions.
pub fn set_limits(limits: Limits) {
    LIMITS.set(limits);
    MATCHER.with_borrow_mut(Matcher::forget_context);
}

export! {
    /// Compiles an expression; null and a text when it is bad.
    ngx_http_lua_ffi_compile_regex, ngx_stream_lua_ffi_compile_regex(
        pattern: *const u8, len: usize, flags: c_int, options: c_int, err: *mut u8, err_size: usize,
    ) -> *mut Regex {
        // SAFETY: the contract of the parent module.
        let source = unsafe { bytes(pattern, len) };
        match Regex::compile(source, flags, options as u32) {
            Ok(mut regex) => {
                regex.pattern = pattern;
                Box::into_raw(regex)
            }
            Err(text) => {
                // SAFETY: the caller's buffer has `err_size` bytes; the text is cut to leave room for its end.
                unsafe {
                    let mut room = err_size.saturating_sub(1);
                    write_error(err, &raw mut room, &text);
                    if err_size > 0 {
                        err.add(room).write(0);
                    }
                }
                ptr::null_mut()
            }
        }
    }

    /// Matches from a byte position on and fills the groups; the number of groups, or PCRE's error code.
    ngx_http_lua_ffi_exec_regex, ngx_stream_lua_ffi_exec_regex(
        regex: *mut Regex, flags: c_int, subject: *const u8, len: usize, pos: c_int,
    ) -> c_int {
        // SAFETY: Lua passes expressions it got from `compile_regex` and did not destroy; the contract of the parent
        // module for the subject.
        unsafe { (*regex).exec(flags, bytes(subject, len), pos.max(0) as usize) }
    }

    /// Frees an expression.
    ngx_http_lua_ffi_destroy_regex, ngx_stream_lua_ffi_destroy_regex(regex: *mut Regex) {
        if !regex.is_null() {
            // SAFETY: Lua destroys what it got from `compile_regex`, once.
            drop(unsafe { Box::from_raw(regex) });
        }
    }

    /// Gives an expression its template.
    ngx_http_lua_ffi_compile_replace_template, ngx_stream_lua_ffi_compile_replace_template(
        regex: *mut Regex, source: *const u8, len: usize,
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let (regex, source) = unsafe { (&mut *regex, bytes(source, len)) };
        match ComplexValue::compile(source) {
            Ok(value) => {
                regex.replace = &raw const **regex.template.insert(value);
                OK
            }
            Err(error) => {
                worker::log(Level::Error, format_args!("{error}"));
                ERROR
            }
        }
    }

    /// Makes room for evaluations.
    ngx_http_lua_ffi_create_script_engine, ngx_stream_lua_ffi_create_script_engine() -> *mut Engine {
        Box::into_raw(Box::new(Engine { subject: ptr::null(), captures: ptr::null(), len: 0 }))
    }

    /// Frees it.
    ngx_http_lua_ffi_destroy_script_engine, ngx_stream_lua_ffi_destroy_script_engine(engine: *mut Engine) {
        if !engine.is_null() {
            // SAFETY: Lua destroys what it got from `create_script_engine`, once.
            drop(unsafe { Box::from_raw(engine) });
        }
    }

    /// Names the subject and the groups of the next evaluations.
    ngx_http_lua_ffi_init_script_engine, ngx_stream_lua_ffi_init_script_engine(
        engine: *mut Engine, subject: *const u8, regex: *mut Regex, count: c_int,
    ) {
        // SAFETY: the contract of the parent module.
        unsafe {
            let len = (count.max(0) as usize * 2).min((*regex).groups.len());
            engine.write(Engine { subject, captures: (*regex).captures, len });
        }
    }

    /// The length of a template's expansion.
    ngx_http_lua_ffi_script_eval_len, ngx_stream_lua_ffi_script_eval_len(
        engine: *mut Engine, value: *const ComplexValue,
    ) -> usize {
        // SAFETY: the contract of the parent module; the groups lie within the subject, as PCRE found them.
        unsafe { (*value).parts.iter().map(|part| (*engine).text(part).len()).sum() }
    }

    /// Writes a template's expansion.
    ngx_http_lua_ffi_script_eval_data, ngx_stream_lua_ffi_script_eval_data(
        engine: *mut Engine, value: *const ComplexValue, dst: *mut u8,
    ) -> usize {
        // SAFETY: as above; the caller has room for the length that `script_eval_len` told.
        unsafe {
            let end = (*value).parts.iter().fold(dst, |dst, part| copy_to(dst, (*engine).text(part)));
            end as usize - dst as usize
        }
    }

    /// How many expressions Lua may cache.
    ngx_http_lua_ffi_max_regex_cache_size, ngx_stream_lua_ffi_max_regex_cache_size() -> u32 {
        LIMITS.get().cache_entries
    }

    /// PCRE2's version; it tells Lua which option bits are meant.
    ngx_http_lua_ffi_pcre_version, ngx_stream_lua_ffi_pcre_version() -> *const c_char {
        thread_local! {
            static VERSION: [c_char; 64] = {
                let mut version = [0; 64];
                // SAFETY: 64 bytes are more than the longest version.
                unsafe { pcre2::pcre2_config_8(pcre2::PCRE2_CONFIG_VERSION, version.as_mut_ptr().cast()) };
                version
            };
        }
        VERSION.with(|version| version.as_ptr())
    }

    /// Sets the size of the stack of compiled expressions.
    ngx_http_lua_ffi_set_jit_stack_size, ngx_stream_lua_ffi_set_jit_stack_size(
        size: c_int, err: *mut u8, err_len: *mut usize,
    ) -> c_int {
        if MATCHER.with_borrow_mut(|matcher| matcher.set_jit_stack(size.max(0) as usize)) {
            return OK;
        }
        // SAFETY: the contract of the parent module.
        unsafe { write_error(err, err_len, b"pcre jit stack allocation failed") };
        ERROR
    }
}

impl Regex {
    fn compile(source: &[u8], flags: c_int, options: u32) -> Result<Box<Self>, Vec<u8>> {
        let (mut code, mut offset) = (0, 0);
        // SAFETY: the pattern is readable for its length, also when that is zero.
        let compiled = unsafe {
            let pattern = if source.is_empty() { c"".as_ptr().cast() } else { source.as_ptr() };
            pcre2::pcre2_compile_8(pattern, source.len(), options, &raw mut code, &raw mut offset, ptr::null_mut())
        };
        if compiled.is_null() {
            return Err(compile_error(source, code, offset));
        }
        let mut regex = Box::new(Self {
            pool: ptr::null_mut(),
            name_table: ptr::null(),
            name_count: 0,
            name_entry_size: 0,
            ncaptures: 0,
            captures: ptr::null_mut(),
            regex: compiled,
            regex_sd: ptr::null_mut(),
            replace: ptr::null(),
            pattern: ptr::null(),
            groups: Vec::new(),
            template: None,
        });
        // A caller recognises a live expression by its pool.
        regex.pool = (&raw mut *regex).cast();
        let ncaptures = regex.info(pcre2::PCRE2_INFO_CAPTURECOUNT);
        worker::debug(format_args!(
            "pcre2_compile: pattern[{}], options 0x{options:08X}, ncaptures {ncaptures}",
            String::from_utf8_lossy(source)
        ));
        if flags & FLAG_JIT != 0 {
            // SAFETY: the expression was just compiled.
            let code = unsafe { pcre2::pcre2_jit_compile_8(compiled, pcre2::PCRE2_JIT_COMPLETE) };
            if code == 0 {
                worker::debug(format_args!("pcre2 JIT compiled successfully"));
            } else {
                let pattern = String::from_utf8_lossy(source);
                let message = format_args!("pcre2_jit_compile() failed: {code} in \"{pattern}\", ignored");
                worker::log(Level::Info, message);
            }
        }
        regex.ncaptures = if flags & FLAG_DFA == 0 { ncaptures as c_int } else { 0 };
        regex.groups = vec![-1; (regex.ncaptures as usize + 1) * 2];
        regex.captures = regex.groups.as_mut_ptr();
        regex.name_count = regex.info(pcre2::PCRE2_INFO_NAMECOUNT) as c_int;
        if regex.name_count > 0 {
            regex.name_entry_size = regex.info(pcre2::PCRE2_INFO_NAMEENTRYSIZE) as c_int;
            // SAFETY: this question is answered with a pointer into the expression.
            unsafe {
                let table = (&raw mut regex.name_table).cast();
                pcre2::pcre2_pattern_info_8(compiled, pcre2::PCRE2_INFO_NAMETABLE, table);
            }
        }
        Ok(regex)
    }

    /// Asks for a property that is a `uint32_t`.
    fn info(&self, what: u32) -> u32 {
        let mut value = 0_u32;
        // SAFETY: the expression is alive, and the answer has this size.
        unsafe { pcre2::pcre2_pattern_info_8(self.regex, what, (&raw mut value).cast()) };
        value
    }

    fn exec(&mut self, flags: c_int, subject: &[u8], pos: usize) -> c_int {
        if pos > subject.len() {
            return pcre2::PCRE2_ERROR_BADOFFSET;
        }
        let options = if flags & FLAG_NO_UTF_CHECK == 0 { 0 } else { pcre2::PCRE2_NO_UTF_CHECK };
        MATCHER.with_borrow_mut(|matcher| {
            let pairs = self.groups.len() / 2;
            let (data, context) = matcher.prepare(pairs);
            if data.is_null() {
                return pcre2::PCRE2_ERROR_NOMEMORY;
            }
            let start = if subject.is_empty() { c"".as_ptr().cast() } else { subject.as_ptr() };
            // SAFETY: the expression, the match data and the context are alive; the subject is readable.
            let code = unsafe {
                if flags & FLAG_DFA == 0 {
                    pcre2::pcre2_match_8(self.regex, start, subject.len(), pos, options, data, context)
                } else {
                    let mut workspace = [0; DFA_WORKSPACE];
                    pcre2::pcre2_dfa_match_8(
                        self.regex,
                        start,
                        subject.len(),
                        pos,
                        options,
                        data,
                        context,
                        workspace.as_mut_ptr(),
                        DFA_WORKSPACE,
                    )
                }
            };
            if code < 0 {
                return code;
            }
            // SAFETY: the vector of the match data has at least `pairs` pairs.
            let found = unsafe { std::slice::from_raw_parts(pcre2::pcre2_get_ovector_pointer_8(data), pairs * 2) };
            for (group, &at) in self.groups.iter_mut().zip(found) {
                // PCRE2_UNSET becomes -1.
                *group = at as c_int;
            }
            code
        })
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: the expression is this value's own.
        unsafe { pcre2::pcre2_code_free_8(self.regex) };
    }
}

impl ComplexValue {
    fn compile(source: &[u8]) -> Result<Box<Self>, template::TemplateError> {
        let parts = template::parse(source)?;
        let marker: *const c_void = if parts.is_some() { (&raw const TEMPLATE_MARK).cast() } else { ptr::null() };
        let mut text = source.to_vec();
        let value = NgxStr { len: text.len(), data: text.as_mut_ptr() };
        Ok(Box::new(Self { value, lengths: marker, values: marker, text, parts: parts.unwrap_or_default() }))
    }
}

impl Engine {
    /// # Safety
    /// Subject and groups are those of the last match and still valid.
    unsafe fn text<'a>(&self, part: &'a Part) -> &'a [u8] {
        let group = match part {
            Part::Text(text) => return text,
            Part::Group(group) => group.saturating_mul(2),
        };
        if group + 1 >= self.len {
            return &[];
        }
        // SAFETY: the caller's promise; `group + 1` is a valid entry.
        unsafe {
            let (from, to) = (*self.captures.add(group), *self.captures.add(group + 1));
            match (usize::try_from(from), usize::try_from(to)) {
                (Ok(from), Ok(to)) if from < to => bytes(self.subject.add(from), to - from),
                _ => &[],
            }
        }
    }
}

/// `pcre2_compile() failed: MESSAGE in "PATTERN" at "REST"`.
fn compile_error(source: &[u8], code: c_int, offset: usize) -> Vec<u8> {
    let mut buf = [0_u8; 128];
    // SAFETY: the buffer has the given size.
    let len = unsafe { pcre2::pcre2_get_error_message_8(code, buf.as_mut_ptr(), buf.len()) };
    let message = usize::try_from(len).ok().and_then(|len| buf.get(..len)).unwrap_or(b"unknown error");
    let rest = source.get(offset..).unwrap_or_default();
    let mut text = [b"pcre2_compile() failed: ", message, b" in \"", source, b"\""].concat();
    if !rest.is_empty() {
        text.extend([b" at \"", rest, b"\""].concat());
    }
    text
}

/// What all matches of a thread share.
struct Matcher {
    data: *mut pcre2::pcre2_match_data_8,
    pairs: usize,
    context: *mut pcre2::pcre2_match_context_8,
    jit_stack: *mut pcre2::pcre2_jit_stack_8,
}

impl Matcher {
    const fn new() -> Self {
        Self { data: ptr::null_mut(), pairs: 0, context: ptr::null_mut(), jit_stack: ptr::null_mut() }
    }

    /// Match data with room for that many pairs (null without memory), and the context.
    fn prepare(&mut self, pairs: usize) -> (*mut pcre2::pcre2_match_data_8, *mut pcre2::pcre2_match_context_8) {
        // SAFETY: all pointers are null or this value's own; PCRE2 accepts null in these places.
        unsafe {
            if self.context.is_null() {
                self.context = pcre2::pcre2_match_context_create_8(ptr::null_mut());
                let limit = LIMITS.get().match_limit;
                if !self.context.is_null() && limit > 0 {
                    pcre2::pcre2_set_match_limit_8(self.context, limit);
                }
                if !self.context.is_null() && !self.jit_stack.is_null() {
                    pcre2::pcre2_jit_stack_assign_8(self.context, None, self.jit_stack.cast());
                }
            }
            if self.pairs < pairs {
                if !self.data.is_null() {
                    pcre2::pcre2_match_data_free_8(self.data);
                }
                self.data = pcre2::pcre2_match_data_create_8(pairs as u32, ptr::null_mut());
                self.pairs = if self.data.is_null() { 0 } else { pairs };
            }
        }
        (self.data, self.context)
    }

    fn set_jit_stack(&mut self, size: usize) -> bool {
        let size = size.max(SMALLEST_JIT_STACK);
        self.forget_context();
        // SAFETY: the stack is this value's own, and no context refers to it any more.
        unsafe {
            if !self.jit_stack.is_null() {
                pcre2::pcre2_jit_stack_free_8(self.jit_stack);
            }
            self.jit_stack = pcre2::pcre2_jit_stack_create_8(SMALLEST_JIT_STACK, size, ptr::null_mut());
        }
        !self.jit_stack.is_null()
    }

    fn forget_context(&mut self) {
        if !self.context.is_null() {
            // SAFETY: the context is this value's own.
            unsafe { pcre2::pcre2_match_context_free_8(self.context) };
            self.context = ptr::null_mut();
        }
    }
}

impl Drop for Matcher {
    fn drop(&mut self) {
        self.forget_context();
        // SAFETY: what is not null is this value's own.
        unsafe {
            if !self.data.is_null() {
                pcre2::pcre2_match_data_free_8(self.data);
            }
            if !self.jit_stack.is_null() {
                pcre2::pcre2_jit_stack_free_8(self.jit_stack);
            }
        }
    }
}
