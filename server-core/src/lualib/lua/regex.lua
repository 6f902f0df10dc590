-- `ngx.re`: match, find, gmatch, sub, gsub.

local ffi = require "ffi"
local bit = require "bit"
local base = require "rsty.base"

local ffi_string, ffi_gc, ffi_copy, ffi_cast = ffi.string, ffi.gc, ffi.copy, ffi.cast
local band, bor, lshift = bit.band, bit.bor, bit.lshift
local sub, byte, fmt = string.sub, string.byte, string.format
local type, tostring, error, setmetatable = type, tostring, error, setmetatable
local new_tab = base.new_tab
local get_string_buf, get_string_buf_size = base.get_string_buf, base.get_string_buf_size

base.declare((([[
typedef struct { ngx_str_t value; void *lengths; void *values; } COMPLEX;
typedef struct {
    void *pool;
    unsigned char *name_table;
    int name_count;
    int name_entry_size;
    int ncaptures;
    int *captures;
    void *regex;
    void *regex_sd;
    COMPLEX *replace;
    const char *pattern;
} REGEX;
struct ENGINE_s;
typedef struct ENGINE_s *ENGINE;
REGEX *@compile_regex(const unsigned char *pat, size_t pat_len, int flags, int pcre_opts, unsigned char *errstr,
    size_t errstr_size);
int @exec_regex(REGEX *re, int flags, const unsigned char *s, size_t len, int pos);
void @destroy_regex(REGEX *re);
int @compile_replace_template(REGEX *re, const unsigned char *replace_data, size_t replace_len);
ENGINE *@create_script_engine(void);
void @init_script_engine(ENGINE *e, const unsigned char *subj, REGEX *compiled, int count);
void @destroy_script_engine(ENGINE *e);
size_t @script_eval_len(ENGINE *e, COMPLEX *cv);
size_t @script_eval_data(ENGINE *e, COMPLEX *cv, unsigned char *dst);
uint32_t @max_regex_cache_size(void);
const char *@pcre_version(void);
]]):gsub("%f[%w]COMPLEX", "ngx_" .. ngx.config.subsystem .. "_lua_complex_value_t")
    :gsub("%f[%w]REGEX", "ngx_" .. ngx.config.subsystem .. "_lua_regex_t")
    :gsub("%f[%w]ENGINE", "ngx_" .. ngx.config.subsystem .. "_lua_script_engine_t")))

local compile_regex = base.symbol "compile_regex"
local exec_regex = base.symbol "exec_regex"
local destroy_regex = base.symbol "destroy_regex"
local compile_replace_template = base.symbol "compile_replace_template"
local create_script_engine = base.symbol "create_script_engine"
local init_script_engine = base.symbol "init_script_engine"
local destroy_script_engine = base.symbol "destroy_script_engine"
local script_eval_len = base.symbol "script_eval_len"
local script_eval_data = base.symbol "script_eval_data"
local max_regex_cache_size = base.symbol "max_regex_cache_size"

local ONCE, DFA, JIT, DUPNAMES, NO_UTF_CHECK = 0x1, 0x2, 0x4, 0x8, 0x10
local NOMATCH = -1
local ERROR_SIZE = 256

-- What the letters of the options stand for: our flags and PCRE2's options.
local LETTERS = {
    o = { ONCE, 0 },
    j = { JIT, 0 },
    d = { DFA, 0 },
    i = { 0, 0x00000008 },
    s = { 0, 0x00000020 },
    m = { 0, 0x00000400 },
    x = { 0, 0x00000080 },
    u = { 0, 0x00080000 },
    U = { NO_UTF_CHECK, 0x00080000 },
    a = { 0, 0x80000000 },
    D = { DUPNAMES, 0x00000040 },
    -- Of JavaScript: \u, empty classes, references to groups that are not set.
    J = { 0, 0x00000203 },
}

local _M = { version = base.version }
local re = {}
ngx.re = re

-- Options that were seen, with the expressions that were compiled with them.
local options_seen = {}

local function parse_options(opts)
    local flags, pcre = 0, 0
    for i = 1, #opts do
        local letter = sub(opts, i, i)
        local meaning = LETTERS[letter]
        if not meaning then
            error(fmt('unknown flag "%s" (flags "%s")', letter, opts), 3)
        end
        flags, pcre = bor(flags, meaning[1]), bor(pcre, meaning[2])
    end
    local options = {
        flags = flags,
        pcre = pcre,
        once = band(flags, ONCE) ~= 0,
        matchers = {},
        replacers = {},
        templates = {},
    }
    options_seen[opts] = options
    return options
end

local NO_OPTIONS = parse_options("")

local function options_of(opts)
    if not opts then
        return NO_OPTIONS
    end
    return options_seen[opts] or parse_options(opts)
end

local cache_room

local function cache_size()
    if not cache_room then
        cache_room = max_regex_cache_size()
    end
    return cache_room
end

-- Compiled expressions of match, find and gmatch: the least recently used one makes room for a new one. The cache has
-- a fixed number of slots, linked in order of use. Slot 0 is the head of the ring: the slot that is newer than it is the
-- oldest one, the slot that is older the newest.
local links
local compiled_in, options_in, regex_in
local anything_cached = false

local function make_cache()
    local size = cache_size()
    links = ffi.new("struct { int newer, older; }[?]", size + 1)
    for slot = 0, size do
        links[slot].newer, links[slot].older = slot + 1, slot - 1
    end
    links[size].newer, links[0].older = 0, size
    compiled_in, options_in, regex_in = new_tab(size, 0), new_tab(size, 0), new_tab(size, 0)
end

-- Makes a slot the newest one.
local function touch(slot)
    if links[0].older == slot then
        return
    end
    local newer, older = links[slot].newer, links[slot].older
    links[newer].older, links[older].newer = older, newer
    local newest = links[0].older
    links[slot].newer, links[slot].older = 0, newest
    links[newest].newer, links[0].older = slot, slot
end

local function remember(options, regex, compiled)
    local slot = links[0].newer
    if regex_in[slot] then
        options_in[slot].matchers[regex_in[slot]] = nil
    end
    compiled_in[slot], options_in[slot], regex_in[slot] = compiled, options, regex
    options.matchers[regex] = slot
    touch(slot)
    anything_cached = true
end

local function recall(options, regex)
    local slot = options.matchers[regex]
    if slot then
        touch(slot)
        return compiled_in[slot]
    end
end

local function destroy(compiled)
    destroy_regex(ffi_gc(compiled, nil))
end

local function compile(regex, options)
    local err = get_string_buf(ERROR_SIZE)
    local compiled = compile_regex(regex, #regex, options.flags, options.pcre, err, ERROR_SIZE)
    if compiled == nil then
        return nil, ffi_string(err)
    end
    return ffi_gc(compiled, destroy_regex)
end

-- The compiled expression, whether it stays in the cache, and the flags; or nil and an error.
local function re_match_compile(regex, opts)
    local options = options_of(opts)
    if not links then
        make_cache()
    end
    local once = options.once and cache_size() > 0
    if once then
        local compiled = recall(options, regex)
        if compiled then
            return compiled, true, options.flags
        end
    end
    local compiled, err = compile(regex, options)
    if not compiled then
        return nil, err
    end
    if once then
        remember(options, regex, compiled)
    end
    return compiled, once, options.flags
end

-- Matches once: the number of groups, or nil; with an error if it is one.
local function exec(compiled, once, flags, subject, pos)
    local count = exec_regex(compiled, flags, subject, #subject, pos)
    if count > 0 then
        return count
    end
    if count == 0 and band(flags, DFA) ~= 0 then
        return 1
    end
    if not once then
        destroy(compiled)
    end
    if count == NOMATCH then
        return nil
    end
    if count == 0 then
        return nil, "capture size too small"
    end
    return nil, "pcre_exec() failed: " .. count
end

local function collect_names(compiled, flags, res)
    local entry, size = compiled.name_table, compiled.name_entry_size
    local duplicates = band(flags, DUPNAMES) ~= 0
    for _ = 1, compiled.name_count do
        local capture = res[bor(lshift(entry[0], 8), entry[1])]
        local name = ffi_string(entry + 2)
        if not duplicates then
            res[name] = capture
        elseif capture then
            local others = res[name]
            if others then
                others[#others + 1] = capture
            else
                res[name] = { capture }
            end
        end
        entry = entry + size
    end
end

-- Puts the groups of a match into a table: index 0 is the whole match, groups without match are false.
local function collect_captures(compiled, count, subject, flags, res)
    local captures, last, names = compiled.captures, compiled.ncaptures, compiled.name_count
    res = res or new_tab(last, names)
    for i = 0, last do
        local from = i <= count and captures[2 * i] or -1
        res[i] = from >= 0 and sub(subject, from + 1, captures[2 * i + 1])
    end
    if names > 0 then
        collect_names(compiled, flags, res)
    end
    return res
end

-- The position that a context names, counted from zero.
local function position_of(ctx)
    local pos = ctx and ctx.pos
    if not pos or pos <= 0 then
        return 0
    end
    return pos - 1
end

function re.match(subject, regex, opts, ctx, res)
    subject = tostring(subject)
    local compiled, once, flags = re_match_compile(regex, opts)
    if not compiled then
        return nil, once
    end
    local count, err = exec(compiled, once, flags, subject, position_of(ctx))
    if not count then
        if err then
            return nil, err
        end
        return nil
    end
    if ctx then
        ctx.pos = compiled.captures[1] + 1
    end
    res = collect_captures(compiled, count, subject, flags, res)
    if not once then
        destroy(compiled)
    end
    return res
end

function re.find(subject, regex, opts, ctx, nth)
    subject = tostring(subject)
    local compiled, once, flags = re_match_compile(regex, opts)
    if not compiled then
        return nil, nil, once
    end
    local count, err = exec(compiled, once, flags, subject, position_of(ctx))
    if not count then
        if err then
            return nil, nil, err
        end
        return nil
    end
    local captures = compiled.captures
    if ctx then
        ctx.pos = captures[1] + 1
    end
    nth = nth and nth >= 0 and nth or 0
    local groups = compiled.ncaptures
    local from, to = -1, -1
    if nth < count then
        from, to = captures[nth * 2], captures[nth * 2 + 1]
    end
    if not once then
        destroy(compiled)
    end
    if nth > groups then
        return nil, nil, "nth out of bound"
    end
    if from < 0 then
        return nil, nil
    end
    return from + 1, to
end

-- The next match of an iterator.
local function next_match(self)
    local pos = self.pos
    if not pos then
        return nil
    end
    local compiled, subject, flags = self.compiled, self.subject, self.flags
    local count, err = exec(compiled, self.once, flags, subject, pos)
    if not count then
        self.pos, self.compiled, self.subject = nil, nil, nil
        if err then
            return nil, err
        end
        return nil
    end
    local from, to = compiled.captures[0], compiled.captures[1]
    local res = collect_captures(compiled, count, subject, flags)
    -- After an empty match the search goes on behind the next byte.
    pos = from == to and to + 1 or to
    if pos > #subject then
        if not self.once then
            destroy(compiled)
        end
        self.pos, self.compiled, self.subject = nil, nil, nil
    else
        self.pos = pos
    end
    return res
end

local iterator = { __call = next_match }

function re.gmatch(subject, regex, opts)
    subject = tostring(subject)
    local compiled, once, flags = re_match_compile(regex, opts)
    if not compiled then
        return nil, once
    end
    return setmetatable({ compiled = compiled, once = once, subject = subject, flags = flags, pos = 0 }, iterator)
end

local replacers_cached = 0

-- The compiled expression for a replacement by a template, or (without one) by a function.
local function re_sub_compile(regex, opts, template)
    local options = options_of(opts)
    local once = options.once
    local known = options.replacers
    if template then
        known = options.templates[template]
    end
    local compiled = once and known and known[regex]
    if compiled then
        return compiled, true, options.flags
    end
    local err
    compiled, err = compile(regex, options)
    if not compiled then
        return nil, err
    end
    if template and compile_replace_template(compiled, template, #template) ~= 0 then
        destroy(compiled)
        return nil, "failed to compile the replacement template"
    end
    if once then
        -- A full cache takes nothing more.
        once = replacers_cached < cache_size()
        if once then
            if not known then
                known = {}
                options.templates[template] = known
            end
            known[regex] = compiled
            replacers_cached = replacers_cached + 1
        end
    end
    return compiled, once, options.flags
end

local grow_ratio = 2

-- A buffer with room for `needed` bytes, of which the first `used` are those of `buf`.
local function grown(buf, size, used, needed, fresh)
    if needed <= size then
        return buf, size
    end
    size = size * grow_ratio
    if size < needed then
        size = needed
    end
    local larger = get_string_buf(size, fresh)
    ffi_copy(larger, buf, used)
    return larger, size
end

local bytes_type = ffi.typeof("const unsigned char *")
local engine

local function engine_for(subject, compiled, count)
    if not engine then
        engine = ffi_gc(create_script_engine(), destroy_script_engine)
    end
    init_script_engine(engine, subject, compiled, count)
    return engine
end

-- Replaces the first match or all of them. `replace` is a function, or nil for the expression's template.
local function replace_matches(subject, compiled, once, flags, replace, global)
    local len = #subject
    local size = get_string_buf_size()
    -- A function may use the common buffer itself.
    local fresh = replace ~= nil
    local buf, used = get_string_buf(size, fresh), 0
    local pos, copied, replaced = 0, 0, 0
    local captures = compiled.captures
    while pos <= len do
        local count = exec_regex(compiled, flags, subject, len, pos)
        if count == NOMATCH then
            break
        end
        if count <= 0 then
            if count < 0 or band(flags, DFA) == 0 then
                if not once then
                    destroy(compiled)
                end
                return nil, nil, count == 0 and "capture size too small" or "pcre_exec() failed: " .. count
            end
            count = 1
        end
        replaced = replaced + 1
        local from, to = captures[0], captures[1]
        local before = from - copied
        if replace then
            local piece = tostring(replace(collect_captures(compiled, count, subject, flags)))
            local needed = used + before + #piece
            buf, size = grown(buf, size, used, needed, fresh)
            ffi_copy(buf + used, ffi_cast(bytes_type, subject) + copied, before)
            ffi_copy(buf + used + before, piece, #piece)
            used = needed
        else
            local template = compiled.replace
            if template.lengths == nil then
                local piece = tonumber(template.value.len)
                local needed = used + before + piece
                buf, size = grown(buf, size, used, needed, fresh)
                ffi_copy(buf + used, ffi_cast(bytes_type, subject) + copied, before)
                ffi_copy(buf + used + before, template.value.data, piece)
                used = needed
            else
                local evaluator = engine_for(subject, compiled, count)
                local needed = used + before + tonumber(script_eval_len(evaluator, template))
                buf, size = grown(buf, size, used, needed, fresh)
                ffi_copy(buf + used, ffi_cast(bytes_type, subject) + copied, before)
                script_eval_data(evaluator, template, ffi_cast("unsigned char *", buf) + used + before)
                used = needed
            end
        end
        copied = to
        if not global then
            break
        end
        pos = from == to and to + 1 or to
    end
    if not once then
        destroy(compiled)
    end
    if replaced == 0 then
        return subject, 0
    end
    local rest = len - copied
    if rest > 0 then
        buf = grown(buf, size, used, used + rest, fresh)
        ffi_copy(buf + used, ffi_cast(bytes_type, subject) + copied, rest)
        used = used + rest
    end
    return ffi_string(buf, used), replaced
end

local function substitute(subject, regex, replace, opts, global)
    local template
    if type(replace) ~= "function" then
        template = tostring(replace)
        replace = nil
    end
    local compiled, once, flags = re_sub_compile(regex, opts, template)
    if not compiled then
        return nil, nil, once
    end
    return replace_matches(tostring(subject), compiled, once, flags, replace, global)
end

function re.sub(subject, regex, replace, opts)
    return substitute(subject, regex, replace, opts, false)
end

function re.gsub(subject, regex, replace, opts)
    return substitute(subject, regex, replace, opts, true)
end

_M.collect_captures = collect_captures
_M.destroy_compiled_regex = destroy
_M.re_match_compile = re_match_compile
_M.exec = exec

function _M.re_sub_compile(regex, opts, replace)
    return re_sub_compile(regex, opts, replace)
end

function _M.is_regex_cache_empty()
    return not anything_cached
end

function _M.set_buf_grow_ratio(ratio)
    grow_ratio = ratio
end

return _M
