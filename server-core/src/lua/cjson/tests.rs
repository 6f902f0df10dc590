//! Both directions, the settings and the messages, in an interpreter.

use std::rc::Rc;

use crate::lua::sys;
use crate::lua::sys::raw::*;
use crate::lua::vm::{Options, Vm};

fn vm() -> Rc<Vm> {
    Vm::new(&Options::default()).expect("a state")
}

/// What the expressions after `return` give, as texts joined by `|`; an error as its message.
fn eval(code: &str) -> String {
    let vm = vm();
    let chunk = format!(
        "local cjson = require 'cjson'; local safe = require 'cjson.safe'
        local function run(...)
            {code}
        end
        local function shown(ok, ...)
            if not ok then return tostring((...)) end
            local texts = {{}}
            for n = 1, select('#', ...) do texts[n] = tostring((select(n, ...))) end
            return table.concat(texts, '|')
        end
        result = shown(pcall(run))"
    );
    vm.run_layer("=t", chunk.as_bytes()).expect("the chunk runs");
    // SAFETY: a plain access outside of any call.
    unsafe { lua_getfield_(vm.state(), LUA_GLOBALSINDEX, c"result".as_ptr()) };
    String::from_utf8_lossy(sys::bytes(vm.state(), -1).expect("a text")).into_owned()
}

fn encoded(expression: &str) -> String {
    eval(&format!("return cjson.encode({expression})"))
}

/// The message of decoding a text, through the safe module, which adds no place.
fn refused(json: &str) -> String {
    eval(&format!("return safe.decode([==[{json}]==])"))
}

#[test]
fn plain_values_are_encoded() {
    assert_eq!(encoded("nil"), "null");
    assert_eq!(encoded("cjson.null"), "null");
    assert_eq!(encoded("true"), "true");
    assert_eq!(encoded("0.1"), "0.1");
    assert_eq!(encoded("{}"), "{}");
    assert_eq!(encoded("{ 1, 'a', { b = false } }"), r#"[1,"a",{"b":false}]"#);
    assert_eq!(encoded("{ [1.5] = 1 }"), r#"{"1.5":1}"#);
}

#[test]
fn strings_are_escaped() {
    assert_eq!(encoded(r#"'a"\\/\b\t\n\f\r\0\27\127é'"#), r#""a\"\\\/\b\t\n\f\r\u0000\u001b\u007fé""#);
    assert_eq!(
        eval(
            "local other = cjson.new(); other.encode_escape_forward_slash(false); return other.encode('/'), cjson.encode('/')"
        ),
        r#""/"|"\/""#
    );
}

#[test]
fn sparse_arrays_have_nulls_up_to_a_point() {
    assert_eq!(encoded("{ [3] = 'c' }"), r#"[null,null,"c"]"#);
    assert_eq!(encoded("{ [10] = 1 }"), "[null,null,null,null,null,null,null,null,null,1]");
    assert_eq!(encoded("{ [11] = 1 }"), "Cannot serialise table: excessively sparse array");
    assert_eq!(eval("cjson.encode_sparse_array(true); return cjson.encode({ [11] = 1 })"), r#"{"11":1}"#);
    assert_eq!(eval("cjson.encode_sparse_array(false, 0); return #cjson.encode({ [1000] = 1 })"), "4998");
    assert_eq!(eval("cjson.encode_sparse_array(true, 1, 1); return cjson.encode({ [2] = 1 })"), r#"{"2":1}"#);
    assert_eq!(encoded("{ [0] = 1 }"), r#"{"0":1}"#);
}

#[test]
fn empty_tables_are_what_was_asked_for() {
    assert_eq!(eval("cjson.encode_empty_table_as_object(false); return cjson.encode({ a = {} })"), r#"{"a":[]}"#);
    assert_eq!(encoded("{ cjson.empty_array }"), "[[]]");
    assert_eq!(encoded("setmetatable({}, cjson.empty_array_mt)"), "[]");
    assert_eq!(encoded("setmetatable({ x = 1 }, cjson.array_mt)"), "[]");
    assert_eq!(encoded("setmetatable({ 1, 2, x = 1 }, cjson.array_mt)"), "[1,2]");
    assert_eq!(
        eval("return cjson.new().array_mt == safe.array_mt, cjson.empty_array_mt == cjson.array_mt"),
        "true|false"
    );
}

#[test]
fn arrays_may_be_computed_by_metamethods() {
    let array = "setmetatable({}, { __len = function () return 3 end, __index = function (_, n) return n * n end })";
    assert_eq!(encoded(array), "[1,4,9]");
    assert_eq!(encoded("setmetatable({}, { __len = function () error('broken', 0) end })"), "broken");
    assert_eq!(encoded("setmetatable({ nil, 2 }, { __index = function () error('no', 0) end })"), "no");
    assert_eq!(encoded("setmetatable({ a = 1 }, {})"), r#"{"a":1}"#);
}

#[test]
fn a_metamethod_that_changes_the_table_being_walked_is_an_error_at_most() {
    let code = "local t = {}
        for n = 1, 40 do t['k' .. n] = setmetatable({}, { __len = function ()
            for m = 1, 40 do t['k' .. m] = nil end
            for m = 1, 400 do t['new' .. m] = m end
            collectgarbage()
            return 0
        end }) end
        return safe.encode(t) ~= false";
    assert!(["true", "false"].contains(&eval(code).as_str()));
}

#[test]
fn an_instance_can_be_used_while_it_encodes() {
    let code = "return cjson.encode({ setmetatable({}, {
        __len = function () return 1 end, __index = function () return cjson.encode({ 'in' }) end }) })";
    assert_eq!(eval(code), r#"[["[\"in\"]"]]"#);
}

#[test]
fn values_that_json_lacks_are_refused_or_skipped() {
    assert_eq!(encoded("print"), "Cannot serialise function: type not supported");
    assert_eq!(encoded("{ [true] = 1 }"), "Cannot serialise boolean: table key must be a number or string");
    assert_eq!(encoded("0/0"), "Cannot serialise number: must not be NaN or Infinity");
    assert_eq!(
        eval(
            "cjson.encode_skip_unsupported_value_types(true)
            return cjson.encode({ print, 1, print, 2, print }), cjson.encode({ a = print }), cjson.encode(print)"
        ),
        "[1,2]|{}|"
    );
}

#[test]
fn invalid_numbers_are_written_on_demand() {
    assert_eq!(
        eval("cjson.encode_invalid_numbers(true); return cjson.encode({ 1/0, -1/0, 0/0 })"),
        "[Infinity,-Infinity,NaN]"
    );
    assert_eq!(
        eval("cjson.encode_invalid_numbers('null'); return cjson.encode({ 1/0 }), cjson.encode_invalid_numbers()"),
        "[null]|null"
    );
}

#[test]
fn depth_is_limited_in_both_directions() {
    let nested = "local t = {}; for n = 1, 1000 do t = { t } end; return cjson.encode(t)";
    assert_eq!(eval(nested), "Cannot serialise, excessive nesting (1001)");
    assert_eq!(eval("local t = {}; t.t = t; return cjson.encode(t)"), "Cannot serialise, excessive nesting (1001)");
    assert_eq!(
        eval("return safe.decode(('['):rep(1001))"),
        "nil|Found too many nested data structures (1001) at character 1001"
    );
    assert_eq!(eval("return #cjson.encode(cjson.decode(('['):rep(1000) .. (']'):rep(1000)))"), "2000");
}

#[test]
fn a_limit_above_what_the_stack_holds_is_an_error() {
    let code = "cjson.decode_max_depth(1000000); safe = cjson; return pcall(cjson.decode, ('['):rep(500000))";
    assert!(eval(code).starts_with("false|Found too many nested data structures ("));
    let code =
        "cjson.encode_max_depth(1000000); local t = {}; for n = 1, 500000 do t = { t } end; return cjson.encode(t)";
    assert!(eval(code).starts_with("Cannot serialise, excessive nesting ("));
}

#[test]
fn indentation_breaks_lines() {
    let code = "cjson.encode_indent('  '); return cjson.encode({ { a = 1 }, {}, setmetatable({}, cjson.array_mt) })";
    assert_eq!(eval(code), "[\n  {\n    \"a\": 1\n  },\n  {},\n  []\n]");
    assert_eq!(
        eval("cjson.encode_indent('x'); cjson.encode_indent(''); return cjson.encode({ 1 }), cjson.encode_indent()"),
        "[1]|"
    );
}

#[test]
fn texts_are_decoded() {
    let code = r#"local t = cjson.decode('{"a":[1,-2.5e1,"x\\u00e9\\ud83d\\ude00\\n"],"n":null,"t":true}')
        return t.a[1], t.a[2], t.a[3], t.n == cjson.null, t.t"#;
    assert_eq!(eval(code), "1|-25|xé😀\n|true|true");
    assert_eq!(
        eval("return cjson.decode(' 12 '), cjson.decode(7), cjson.decode('0x10'), cjson.decode('-inf')"),
        "12|7|16|-inf"
    );
    assert_eq!(eval("return cjson.decode('12\\0 rest')"), "12");
    assert_eq!(eval("return getmetatable(cjson.decode('[]')), #cjson.decode('[null,null]')"), "nil|2");
    assert_eq!(
        eval("cjson.decode_array_with_array_mt(true); return getmetatable(cjson.decode('[]')) == cjson.array_mt"),
        "true"
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (json, message) in [
        ("", "Expected value but found T_END at character 1"),
        ("[1,]", "Expected value but found T_ARR_END at character 4"),
        ("{\"a\":1,}", "Expected object key string but found T_OBJ_END at character 8"),
        ("{1:2}", "Expected object key string but found T_INTEGER at character 2"),
        ("{1.5:2}", "Expected object key string but found T_NUMBER at character 2"),
        ("{\"a\" 1}", "Expected colon but found T_INTEGER at character 6"),
        ("{\"a\":1 2}", "Expected comma or object end but found T_INTEGER at character 8"),
        ("[1 null]", "Expected comma or array end but found T_NULL at character 4"),
        ("1 true", "Expected the end but found T_BOOLEAN at character 3"),
        ("[\"a]", "Expected value but found unexpected end of string at character 5"),
        ("\"a\\x\"", "Expected value but found invalid escape code at character 3"),
        ("\"\\ud800 \"", "Expected value but found invalid unicode escape code at character 2"),
        ("\"\\udc00\"", "Expected value but found invalid unicode escape code at character 2"),
        ("nope", "Expected value but found invalid token at character 1"),
        ("-", "Expected value but found invalid number at character 1"),
        ("trueish", "Expected the end but found invalid token at character 5"),
        ("/* a */1", "Expected value but found invalid token at character 1"),
        ("}", "Expected value but found T_OBJ_END at character 1"),
    ] {
        assert_eq!(refused(json), format!("nil|{message}"), "{json}");
    }
    assert_eq!(eval("return safe.decode('\\0\"')"), "nil|JSON parser does not support UTF-16 or UTF-32");
}

#[test]
fn strict_numbers_are_json_s() {
    for json in ["+1", "0x10", "01", "nan", "-inf", "-Infinity", "NaN"] {
        let answer = eval(&format!("safe.decode_invalid_numbers(false); return safe.decode('{json}')"));
        assert!(answer.contains("found invalid "), "{json}: {answer}");
    }
    assert_eq!(eval("safe.decode_invalid_numbers(false); return safe.decode('[0,-1.5e3]')[2]"), "-1500");
}

#[test]
fn comments_are_read_on_demand() {
    let with =
        |json: &str| eval(&format!("safe.decode_allow_comment(true); return safe.encode(safe.decode([[{json}]]))"));
    assert_eq!(with("// one\n { /* two */ \"a\": // three\n 1 } // end"), r#"{"a":1}"#);
    assert_eq!(
        eval("safe.decode_allow_comment(true); return safe.decode('/* x')"),
        "nil|Expected value but found unclosed multi-line comment at character 5"
    );
}

#[test]
fn settings_are_returned_and_checked() {
    assert_eq!(eval("return cjson.encode_sparse_array()"), "false|2|10");
    assert_eq!(eval("return cjson.encode_max_depth(5), cjson.encode_max_depth()"), "5|5");
    assert_eq!(eval("return cjson.encode_keep_buffer('off'), cjson.encode_keep_buffer()"), "false|false");
    assert_eq!(
        eval("local n = cjson.encode_number_precision(17)"),
        "t:3: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 16)"
    );
    assert_eq!(
        eval("local n = cjson.encode_invalid_numbers('maybe')"),
        "t:3: bad argument #1 to 'encode_invalid_numbers' (invalid option 'maybe')"
    );
    assert_eq!(
        eval("local n = cjson.decode_max_depth(1, 2)"),
        "t:3: bad argument #2 to 'decode_max_depth' (found too many arguments)"
    );
    assert_eq!(eval("local n = cjson.encode()"), "t:3: bad argument #1 to 'encode' (expected 1 argument)");
    assert_eq!(eval("local n = cjson.decode({})"), "t:3: bad argument #1 to 'decode' (string expected, got table)");
    assert_eq!(eval("return safe.decode({})"), "nil|bad argument #1 to '?' (string expected, got table)");
    assert_eq!(eval("return cjson._NAME, cjson._VERSION"), "cjson|2.1.0.11");
}
