//! Drives the layer in an interpreter without a server around it.

use std::rc::Rc;

use crate::lua::api;
use crate::lua::ffi::shdict::push_shared;
use crate::lua::sys::raw::*;
use crate::lua::sys::{self, StackGuard};
use crate::lua::vm::{Options, Vm};
use crate::shared_dict::Zones;

const SKELETON: &str = "
ngx.config = ngx.config or {}
ngx.config.subsystem = 'http'
ngx.config.ngx_lua_version = 10030
ngx.req = ngx.req or {}
";

/// An interpreter with the layer, and two zones that it keeps alive.
struct Layer {
    vm: Rc<Vm>,
    _zones: Zones,
}

impl Layer {
    fn new() -> Self {
        Self::new_with(&[(b"dogs", 1 << 20), (b"cats", 16 << 10)])
    }

    fn new_with(dicts: &[(&[u8], usize)]) -> Self {
        let layer = Self::bare(dicts);
        // SAFETY: the main state, outside of any call.
        unsafe { super::install(layer.vm.state()) };
        layer.run("require 'rsty.given' require 'resty.core'");
        layer
    }

    /// With everything but our modules.
    fn bare(dicts: &[(&[u8], usize)]) -> Self {
        let vm = Vm::new(&Options::default()).unwrap();
        api::inject(&vm, crate::cycle::Subsystem::Http, |_| ()).unwrap();
        vm.run_layer("=skeleton", SKELETON.as_bytes()).unwrap();
        let mut zones = Zones::default();
        for (name, size) in dicts {
            zones.open(name, *size, None).unwrap();
        }
        let state = vm.state();
        // SAFETY: the main state, outside of any call; the guard restores the stack; the zones outlive the VM, which
        // is dropped first.
        unsafe {
            let _guard = StackGuard::new(state);
            lua_getfield_(state, LUA_GLOBALSINDEX, c"ngx".as_ptr());
            push_shared(state, &zones);
            lua_setfield(state, -2, c"shared".as_ptr());
        }
        Self { vm, _zones: zones }
    }

    fn run(&self, code: &str) {
        if let Err(error) = self.vm.run_layer("=test", code.as_bytes()) {
            panic!("{error}\n{code}");
        }
    }

    /// The value of an expression as text.
    fn eval(&self, expression: &str) -> String {
        self.run(&format!(
            "local function all(...)
                local texts = {{}}
                for i = 1, select('#', ...) do texts[i] = tostring((select(i, ...))) end
                return table.concat(texts, ' ')
            end
            result = all({expression})"
        ));
        let state = self.vm.state();
        // SAFETY: the main state, outside of any call; the guard restores the stack.
        unsafe {
            let _guard = StackGuard::new(state);
            lua_getfield_(state, LUA_GLOBALSINDEX, c"result".as_ptr());
            String::from_utf8_lossy(sys::bytes(state, -1).unwrap_or_default()).into_owned()
        }
    }

    fn check(&self, cases: &[(&str, &str)]) {
        for (expression, expected) in cases {
            assert_eq!(self.eval(expression), *expected, "{expression}");
        }
    }
}

#[test]
fn strings_are_escaped_encoded_and_hashed() {
    Layer::new().check(&[
        ("ngx.escape_uri('a b/ä')", "a%20b%2F%C3%A4"),
        ("ngx.escape_uri('a b/?', 0)", "a%20b/%3F"),
        ("ngx.escape_uri(nil)", ""),
        ("ngx.unescape_uri('b%20r56+7%zz')", "b r56 7%zz"),
        ("ngx.encode_base64('hello')", "aGVsbG8="),
        ("ngx.encode_base64('hello', true)", "aGVsbG8"),
        ("ngx.decode_base64('aGVsbG8')", "hello"),
        ("ngx.decode_base64('aGVsbG8@')", "nil"),
        ("ngx.decode_base64mime('aGVs\\nbG8=')", "hello"),
        ("ngx.md5('hello')", "5d41402abc4b2a76b9719d911017c592"),
        ("#ngx.md5_bin('hello')", "16"),
        ("ngx.encode_base64(ngx.sha1_bin('hello'))", "qvTGHdzF6KLavt4PO0gs2a6pQ00="),
        ("ngx.crc32_long('hello')", "907060870"),
        ("ngx.crc32_short('hello')", "907060870"),
        (
            "ngx.encode_base64(ngx.hmac_sha1('thisisverysecretstuff', 'some string we want to sign'))",
            "R/pvxzHC4NLtj7S+kXFg/NePTmk=",
        ),
        ("ngx.quote_sql_str([[a'b\\]])", "'a\\'b\\\\'"),
        ("require('ngx.base64').encode_base64url('\\255\\254')", "__4"),
        ("require('ngx.base64').decode_base64url('__4')", "\u{fffd}\u{fffd}"),
    ]);
}

#[test]
fn argument_errors_have_the_texts_of_the_original() {
    Layer::new().check(&[
        ("pcall(ngx.decode_base64, 1)", "false string argument only"),
        ("pcall(ngx.encode_base64, 'a', 1)", "false bad no_padding: boolean expected, got number"),
        ("pcall(ngx.quote_sql_str)", "false expecting one argument"),
        ("pcall(ngx.hmac_sha1, nil, 'a')", "false bad argument #1 to 'hmac_sha1' (string expected, got nil)"),
        ("pcall(ngx.cookie_time, 'x')", "false number argument only"),
        ("pcall(ngx.shared.dogs.get)", "false bad \"zone\" argument"),
    ]);
}

#[test]
fn time_has_nginx_formats() {
    Layer::new().check(&[
        ("ngx.http_time(1290079655)", "Thu, 18 Nov 2010 11:27:35 GMT"),
        ("ngx.cookie_time(1290079655)", "Thu, 18-Nov-10 11:27:35 GMT"),
        ("ngx.parse_http_time('Thu, 18 Nov 2010 11:27:35 GMT')", "1290079655"),
        ("ngx.parse_http_time('no time')", "nil"),
        ("#ngx.localtime() + #ngx.utctime() + #ngx.today()", "48"),
        ("ngx.now() - ngx.time() < 1", "true"),
    ]);
}

#[test]
fn regular_expressions_match() {
    Layer::new().check(&[
        ("ngx.re.match('hello, 1234', '([0-9])[0-9]+')[0]", "1234"),
        ("ngx.re.match('hello, 1234', '([0-9])[0-9]+', 'jo')[1]", "1"),
        ("ngx.re.match('hello', '(w)|(hello)')[1]", "false"),
        ("ngx.re.match('hello, 1234', '(?<n>[0-9]+)').n", "1234"),
        ("#ngx.re.match('ab', '(?<n>a)|(?<n>b)', 'D').n", "1"),
        ("ngx.re.match('HELLO', 'hello', 'i')[0]", "HELLO"),
        ("ngx.re.match('hello', 'world')", "nil"),
        ("ngx.re.match('hello', 'hel', 'd')[0]", "hel"),
        ("ngx.re.find('hello, 1234', '([0-9])([0-9]+)', 'jo', nil, 2)", "9 11"),
        ("ngx.re.find('hello', 'x')", "nil"),
        ("ngx.re.find('hello', 'l', '', nil, 3)", "nil nil nth out of bound"),
        ("ngx.re.match('a', '(abc')", "nil pcre2_compile() failed: missing closing parenthesis in \"(abc\""),
        ("ngx.re.match('a', '[a')", "nil pcre2_compile() failed: missing terminating ] for character class in \"[a\""),
    ]);
    let layer = Layer::new();
    layer.run("ctx = { pos = 2 } m = ngx.re.match('1234, hello', '([0-9]+)', '', ctx)");
    layer.check(&[("m[0], ctx.pos", "234 5")]);
    layer.run("t = {} for m in ngx.re.gmatch('a1b22', '[0-9]+', 'o') do t[#t + 1] = m[0] end");
    layer.check(&[("table.concat(t, ',')", "1,22")]);
    layer.run("t = {} for m in ngx.re.gmatch('ab', '') do t[#t + 1] = '[' .. m[0] .. ']' end");
    layer.check(&[("table.concat(t, ',')", "[],[],[]")]);
    layer.check(&[(
        "select(2, pcall(ngx.re.match, 'a', 'a', 'H')):match('unknown flag .*')",
        "unknown flag \"H\" (flags \"H\")",
    )]);
}

#[test]
fn regular_expressions_replace() {
    Layer::new().check(&[
        ("ngx.re.sub('hello, 1234', '([0-9])[0-9]', '[$0][$1]')", "hello, [12][1]34 1"),
        ("ngx.re.gsub('hello, world', '([a-z])[a-z]+', '[$0,${1}]', 'i')", "[hello,h], [world,w] 2"),
        ("ngx.re.sub('hello', 'l', '$$')", "he$lo 1"),
        ("ngx.re.gsub('hello', 'x', 'y', 'jo')", "hello 0"),
        ("ngx.re.gsub('ab', '', '-')", "-a-b- 3"),
        ("ngx.re.gsub('a1b2', '[0-9]', function(m) return '<' .. m[0] .. '>' end, 'jo')", "a<1>b<2> 2"),
        ("ngx.re.sub('a', 'a', '$x')", "nil nil failed to compile the replacement template"),
        ("#ngx.re.gsub(('a'):rep(5000), 'a', 'bcd')", "15000"),
    ]);
}

#[test]
fn strings_are_split() {
    let layer = Layer::new();
    layer.run("split = function(...) return table.concat(assert(require('ngx.re').split(...)), '|') end");
    layer.check(&[
        ("split('a,b,c,d', ',')", "a|b|c|d"),
        ("split('a,b,c,d', '(,)')", "a|,|b|,|c|,|d"),
        ("split('a,b,c,d', ',', nil, nil, 2)", "a|b,c,d"),
        ("split('a,b,,', ',')", "a|b"),
        ("split('a,b,,', ',', nil, nil, 10)", "a|b||"),
        ("split('abcd', '')", "a|b|c|d"),
        ("split('abcd', 'x')", "abcd"),
        ("split('a,b,c', ',', 'jo', { pos = 3 })", "b|c"),
        ("split('', ',')", ""),
    ]);
}

#[test]
fn dictionaries_keep_values() {
    let layer = Layer::new();
    layer.run("dogs = ngx.shared.dogs");
    layer.check(&[
        ("dogs:set('k', 'v')", "true nil false"),
        ("dogs:get('k')", "v"),
        ("dogs:set('n', 5, 0, 3)", "true nil false"),
        ("dogs:get('n')", "5 3"),
        ("dogs:incr('n', 2)", "7"),
        ("dogs:incr('new', 2)", "nil not found"),
        ("dogs:incr('new', 2, 10)", "12 nil false"),
        ("dogs:add('n', 1)", "false exists false"),
        ("dogs:replace('none', 1)", "false not found false"),
        ("dogs:get(nil)", "nil nil key"),
        ("dogs:get('')", "nil empty key"),
        ("dogs:set('k', {})", "nil bad value type"),
        ("dogs:ttl('k')", "0"),
        ("dogs:ttl('none')", "nil not found"),
        ("dogs:expire('k', 10), dogs:ttl('k') <= 10", "true true"),
        ("dogs:get_stale('k')", "v nil false"),
        ("dogs:rpush('l', 'a'), dogs:rpush('l', 2), dogs:lpush('l', 'z')", "1 2 3"),
        ("dogs:llen('l')", "3"),
        ("dogs:get('l')", "nil value is a list"),
        ("dogs:lpop('l')", "z"),
        ("dogs:rpop('l')", "2"),
        ("dogs:lpush('k', 1)", "nil value not a list"),
        ("table.concat(dogs:get_keys(), ',')", "new,n,l,k"),
        ("dogs:capacity()", "1048576"),
        ("dogs:delete('k')", "true nil false"),
        ("dogs:set('big', ('x'):rep(100000)), #dogs:get('big')", "true 100000"),
        ("ngx.shared.cats:free_space()", "4096"),
        ("dogs:flush_all()", ""),
        ("dogs:flush_expired()", "1"),
        ("ngx.shared.birds", "nil"),
    ]);
}

#[test]
fn processes_errors_and_semaphores_answer() {
    Layer::new().check(&[
        ("ngx.worker.pid() > 1, ngx.worker.count(), ngx.worker.id(), ngx.worker.exiting()", "true 1 0 false"),
        ("require('ngx.process').type()", "single"),
        ("require('ngx.errlog').get_logs()", "nil directive \"lua_capture_error_log\" is not set"),
        ("require('ngx.semaphore').new(3):count()", "3"),
        ("ngx.get_phase()", "init"),
        ("pcall(function() return ngx.var.uri end)", "false resty/core/base.lua:66: no request found"),
    ]);
}

#[test]
fn modules_of_the_fork_are_there() {
    Layer::new().check(&[
        ("require('table.isempty')({})", "true"),
        ("require('table.nkeys')({ 1, a = 2 })", "2"),
        ("require('table.isarray')({ 1, 2 }), require('table.isarray')({ a = 1 })", "true false"),
        ("require('table.clone')({ 7 })[1]", "7"),
        ("require('thread.exdata')()", ""),
        ("require('resty.lrucache')._VERSION", "0.14"),
        ("type(require('jit.v').on), type(require('jit.dump').on)", "function function"),
    ]);
}

#[test]
fn caches_evict_the_least_recently_used() {
    let layer = Layer::new();
    layer.run("c = require('resty.lrucache').new(2) c:set('a', 1) c:set('b', 2) c:get('a') c:set('c', 3)");
    layer.check(&[
        ("c:get('a')", "1 nil 0"),
        ("c:get('b')", "nil"),
        ("c:count()", "2"),
        ("table.concat(c:get_keys(), ',')", "a,c"),
        ("c:set('d', 4, -1, 9), c:get('d')", "nil nil 4 9"),
    ]);
}

#[test]
fn hot_functions_are_compiled() {
    let layer = Layer::new();
    layer.run("dogs = ngx.shared.dogs dogs:set('k', 'v') dogs:set('n', 1)");
    let bodies = [
        "ngx.now()",
        "ngx.escape_uri('a b')",
        "ngx.unescape_uri('a%20b')",
        "ngx.encode_base64('hello')",
        "ngx.decode_base64('aGVsbG8=')",
        "ngx.md5('hello')",
        "ngx.crc32_long('hello')",
        "dogs:get('k')",
        "dogs:set('k', 'w')",
        "dogs:incr('n', 1)",
        "ngx.re.match('hello, 1234', '([0-9]+)', 'jo')",
        "ngx.re.find('hello, 1234', '[0-9]+', 'jo')",
        "ngx.re.sub('hello, 1234', '[0-9]', '[$0]', 'jo')",
        "ngx.re.gsub('hello, 1234', '[0-9]', '-', 'jo')",
        "ngx.http_time(1290079655)",
        "ngx.worker.pid()",
    ];
    for body in bodies {
        layer.run(&format!(
            "aborted = ''
            local watch = function(what, tr, func, pc, code, reason)
                if what == 'abort' then aborted = aborted .. ' ' .. tostring(code) .. ':' .. tostring(reason) end
            end
            local stopped = 0
            jit.flush()
            jit.attach(function(what, tr, func, pc, code)
                if what == 'stop' then stopped = stopped + 1 end
                if what == 'abort' then aborted = aborted .. ' ' .. tostring(code) end
            end, 'trace')
            for i = 1, 1000 do {body} end
            jit.attach(watch)
            compiled = stopped"
        ));
        assert_ne!(layer.eval("compiled"), "0", "{body}:{}", layer.eval("aborted"));
    }
}

#[test]
fn lua_resty_core_loads_on_the_exported_functions() {
    let Some(folder) = std::env::var_os("RSTY_LUA_RESTY_CORE") else { return };
    let folder = folder.to_string_lossy().into_owned();
    let layer = Layer::bare(&[(b"dogs", 1 << 20)]);
    layer.run(&format!("package.path = '{folder}/?.lua;' .. package.path"));
    layer.run(
        "local registry = debug.getregistry()
        for _, name in ipairs { '__tcp_cosocket_mt', '__tcp_req_cosocket_mt', '__tcp_raw_req_cosocket_mt' } do
            registry[name] = registry[name] or {}
        end
        ngx.arg = setmetatable({}, {})
        local new = require 'table.new'
        package.preload['resty.lrucache'] = function()
            return { new = function() local t = {} return t end, get = function(c, k) return c[k] end,
                     set = function(c, k, v) c[k] = v end }
        end
        require 'resty.core'
        for _, name in ipairs { 'balancer', 'base64', 'errlog', 'ocsp', 'pipe', 'process', 'proxyssl', 're', 'req',
            'resp', 'semaphore', 'ssl', 'ssl.session', 'ssl.clienthello' } do
            require('ngx.' .. name)
        end",
    );
    layer.run("dogs = ngx.shared.dogs dogs:set('k', ('x'):rep(10000))");
    layer.check(&[
        ("ngx.md5('hello')", "5d41402abc4b2a76b9719d911017c592"),
        ("ngx.re.gsub('hello, world', '([a-z])[a-z]+', '[$0,${1}]', 'i')", "[hello,h], [world,w] 2"),
        ("#dogs:get('k')", "10000"),
        ("dogs:incr('n', 1, 1)", "2 nil false"),
        ("require('ngx.ssl').parse_pem_cert('x')", "nil not supported"),
        ("ngx.get_phase()", "init"),
    ]);
}
/// Random operations on zones of several sizes, with what nginx 1.22 said to the same ones: operations that evicted,
/// that failed, lengths of lists, free space, keys.
#[test]
fn evictions_and_free_pages_are_those_of_nginx() {
    const SCRIPT: &str = r#"
        local seed = 12345
        local function random(n)
            seed = (seed * 1103515245 + 12345) % 2147483648
            return math.floor(seed / 65536) % n
        end
        results = {}
        for _, name in ipairs { "z12", "z16", "z100", "z1m" } do
            local dict = ngx.shared[name]
            local line = { dict:free_space() }
            for _ = 1, 3 do
                local forced, failed, members = 0, 0, 0
                for _ = 1, 3000 do
                    local key = "key" .. random(700)
                    local len = random(4) == 0 and random(6000) or random(300)
                    local op = random(12)
                    if op < 7 then
                        local ok, _, evicted = dict:set(key, string.rep("x", len))
                        forced, failed = forced + (evicted and 1 or 0), failed + (ok and 0 or 1)
                    elseif op == 7 then
                        dict:delete(key)
                    elseif op == 8 then
                        local _, _, evicted = dict:incr("n" .. random(50), 1, 0)
                        forced = forced + (evicted and 1 or 0)
                    elseif op == 9 then
                        members = members + (dict:rpush("l" .. random(20), string.rep("y", random(200))) or 0)
                    elseif op == 10 then
                        dict:lpop("l" .. random(20))
                    else
                        dict:get(key)
                    end
                end
                for _, figure in ipairs { forced, failed, members, dict:free_space(), #dict:get_keys(0) } do
                    line[#line + 1] = figure
                end
            end
            dict:flush_all()
            line[#line + 1] = dict:free_space()
            line[#line + 1] = dict:flush_expired()
            line[#line + 1] = dict:free_space()
            results[name] = table.concat(line, " ")
        end
    "#;
    let layer = Layer::new_with(&[(b"z12", 12 << 10), (b"z16", 16 << 10), (b"z100", 100 << 10), (b"z1m", 1 << 20)]);
    layer.run(SCRIPT);
    layer.check(&[
        ("results.z12", "0 428 1527 91 0 1 440 1457 100 0 2 435 1469 102 0 0 0 0 0"),
        ("results.z16", "4096 940 136 147 0 1 957 137 147 0 4 955 134 144 0 2 4096 0 4096"),
        ("results.z100", "90112 215 9 298 0 91 227 7 313 8192 61 210 8 312 4096 73 8192 70 90112"),
        ("results.z1m", "1032192 0 0 644 274432 616 0 0 1173 245760 631 0 0 1633 151552 624 151552 621 1032192"),
    ]);
}

#[test]
fn ocsp_says_what_it_can_t_read() {
    let layer = Layer::new();
    layer.run("ocsp = require 'ngx.ocsp'");
    layer.check(&[
        ("ocsp.get_ocsp_responder_from_der_chain('x')", "nil d2i_X509_bio() failed"),
        ("ocsp.create_ocsp_request('x')", "nil d2i_X509_bio() failed"),
        ("ocsp.validate_ocsp_response('x', 'y')", "nil d2i_OCSP_RESPONSE() failed"),
        ("pcall(ocsp.set_ocsp_status_resp, 'x')", "false no request found"),
    ]);
}
