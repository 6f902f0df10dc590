//! `Test::More` and `Test::Base`: plans, assertions, the block list.

use std::cmp::Ordering;

use crate::model::Value;
use crate::perl::{Interpreter, NativeModule, Outcome, Output, Stop, Want};

use super::{first, one};

type Function = (&'static str, crate::perl::Native, Option<&'static str>);

const MORE: &[Function] = &[
    ("BAIL_OUT", bail_out, None),
    ("can_ok", pass, None),
    ("cmp_ok", compare, None),
    ("diag", diag, None),
    ("done_testing", nothing, None),
    ("fail", fail, Some(";$")),
    ("is", is, Some("$$;$")),
    ("is_deeply", is_deeply, None),
    ("isa_ok", pass, None),
    ("isnt", isnt, Some("$$;$")),
    ("like", like, Some("$$;$")),
    ("note", nothing, None),
    ("ok", ok, Some("$;$")),
    ("pass", pass, Some(";$")),
    ("plan", plan, None),
    ("skip", skip, None),
    ("todo_skip", skip, None),
    ("unlike", unlike, Some("$$;$")),
    ("use_ok", pass, None),
];

const BASE: &[Function] = &[
    ("blocks", blocks, Some("")),
    ("carp", warn, None),
    ("cluck", warn, None),
    ("confess", croak, None),
    ("croak", croak, None),
    ("default_object", nothing, Some("")),
    ("delimiters", nothing, None),
    ("filters", filters, None),
    ("filters_delay", nothing, None),
    ("first_block", nothing, Some("")),
    ("next_block", nothing, Some("")),
    ("no_diag_on_only", nothing, None),
    ("no_diff", no_diff, Some("")),
    ("run", run, Some("&;$")),
    ("BAIL_OUT", bail_out, None),
    ("can_ok", pass, None),
    ("cmp_ok", compare, None),
    ("diag", diag, None),
    ("fail", fail, Some(";$")),
    ("is", is, Some("$$;$")),
    ("is_deeply", is_deeply, None),
    ("isa_ok", pass, None),
    ("isnt", isnt, Some("$$;$")),
    ("like", like, Some("$$;$")),
    ("ok", ok, Some("$;$")),
    ("pass", pass, Some(";$")),
    ("plan", plan, None),
    ("skip", skip, None),
    ("todo_skip", skip, None),
    ("unlike", unlike, Some("$$;$")),
    ("use_ok", pass, None),
];

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "Test::More",
        parents: &[],
        functions: MORE,
        exports: &[
            "BAIL_OUT",
            "can_ok",
            "cmp_ok",
            "diag",
            "done_testing",
            "fail",
            "is",
            "is_deeply",
            "isa_ok",
            "isnt",
            "like",
            "note",
            "ok",
            "pass",
            "plan",
            "skip",
            "todo_skip",
            "unlike",
            "use_ok",
            "$TODO",
        ],
        setup: None,
    },
    NativeModule {
        name: "Test::Base",
        parents: &[],
        functions: BASE,
        exports: &[
            "blocks",
            "carp",
            "cluck",
            "confess",
            "croak",
            "default_object",
            "delimiters",
            "filters",
            "filters_delay",
            "first_block",
            "next_block",
            "no_diag_on_only",
            "no_diff",
            "run",
            "can_ok",
            "cmp_ok",
            "diag",
            "fail",
            "is",
            "is_deeply",
            "isa_ok",
            "isnt",
            "like",
            "ok",
            "pass",
            "plan",
            "skip",
            "todo_skip",
            "unlike",
            "use_ok",
            "$TODO",
        ],
        setup: Some(|interpreter| {
            interpreter.require("Test::More")?;
            interpreter.require("Test::Base::Filter")
        }),
    },
    // What filters that a module defines ask of their object.
    NativeModule {
        name: "Test::Base::Filter",
        parents: &[],
        functions: &[
            ("assert_scalar", nothing, None),
            ("current_arguments", |it, _, _| Ok(vec![it.global("Test::Base::Filter::arguments")]), None),
            ("current_block", |it, _, _| Ok(vec![it.global("Test::Base::Filter::block")]), None),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Test::LongString",
        parents: &[],
        functions: &[("is_string", is, Some("$$;$"))],
        exports: &["is_string"],
        setup: None,
    },
    NativeModule {
        name: "Carp",
        parents: &[],
        functions: &[("carp", warn, None), ("cluck", warn, None), ("confess", croak, None), ("croak", croak, None)],
        exports: &["carp", "confess", "croak", "cluck"],
        setup: None,
    },
];

fn nothing(_: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    Ok(Vec::new())
}

/// `plan tests => N`, `plan 'no_plan'`, `plan skip_all => REASON`.
fn plan(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let kind = first(&arguments).to_text();
    let value = arguments.get(1).cloned().unwrap_or_default();
    let plan = interpreter.array(&"rsty::plan".into());
    match kind.as_str() {
        "tests" | "no_plan" => *plan.borrow_mut() = vec![Value::from(kind.as_str()), value],
        "skip_all" => {
            *plan.borrow_mut() = vec![Value::from("skip_all"), value];
            return Err(Stop::Exit(0));
        }
        _ => return Err(interpreter.die(format!("plan() doesn't understand {kind} {}", value.to_text()))),
    }
    one(1)
}

fn blocks(interpreter: &mut Interpreter, _: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    if want == Want::List && !interpreter.global("rsty::started").is_true() {
        // The file walks over its blocks itself: it does so again for each of them.
        return Err(walk(interpreter));
    }
    if want == Want::List {
        let blocks = interpreter.array(&"rsty::blocks".into());
        let blocks = blocks.borrow().clone();
        return Ok(blocks);
    }
    Ok(vec![interpreter.global("rsty::block_count")])
}

/// Stops the prologue at a statement that runs over all blocks.
fn walk(interpreter: &mut Interpreter) -> Stop {
    interpreter.set_global("rsty::flavour", "Plain");
    interpreter.set_global("rsty::started", 1);
    interpreter.repeat_statement();
    Stop::Exit(0)
}

/// `run { … }`: calls the code with each block.
fn run(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    if !interpreter.global("rsty::started").is_true() {
        return Err(walk(interpreter));
    }
    let Value::Code(code) = first(&arguments) else {
        return Err(interpreter.die("run needs a block of code"));
    };
    let blocks = interpreter.array(&"rsty::blocks".into());
    let blocks = blocks.borrow().clone();
    for block in blocks {
        interpreter.call(&code, vec![block], Want::Void)?;
    }
    Ok(Vec::new())
}

/// `filters({section => …})` or filters for every section.
fn filters(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    match arguments.first() {
        Some(map @ Value::Hash(_)) => interpreter.set_global("rsty::filters_map", map.clone()),
        _ => interpreter.array(&"rsty::filters".into()).borrow_mut().extend(arguments),
    }
    Ok(Vec::new())
}

fn no_diff(interpreter: &mut Interpreter, _: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    interpreter.hash(&"main::ENV".into()).borrow_mut().insert(b"TEST_SHOW_NO_DIFFS", Value::Int(1));
    one(1)
}

fn warn(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut message = joined(&arguments);
    if !message.ends_with(b"\n") {
        message.extend_from_slice(interpreter.place().as_bytes());
    }
    interpreter.output.push(Output::Err(message));
    one(1)
}

fn croak(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let message = joined(&arguments);
    Err(if message.ends_with(b"\n") { Stop::Die(Value::str(message)) } else { interpreter.die(message) })
}

fn bail_out(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    interpreter.set_global("rsty::bailed_out", Value::str(joined(&arguments)));
    Err(Stop::Exit(255))
}

fn diag(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let text = joined(&arguments);
    let mut out = Vec::new();
    for line in text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"# ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    interpreter.output.push(Output::Err(out));
    one(0)
}

fn joined(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_bytes().to_vec()).collect()
}

/// Records an assertion for the runner: whether it passed, its name, and what to say about it.
pub(super) fn record(
    interpreter: &mut Interpreter,
    passed: bool,
    name: Option<&Value>,
    diagnostics: Vec<u8>,
) -> Outcome<Vec<Value>> {
    let name = name.map(Value::to_bytes).unwrap_or_default();
    let entry = Value::array(vec![Value::bool(passed), Value::Str(name), Value::str(diagnostics)]);
    interpreter.array(&"rsty::assertions".into()).borrow_mut().push(entry);
    one(Value::bool(passed))
}

fn ok(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    record(interpreter, first(&arguments).is_true(), arguments.get(1), Vec::new())
}

fn pass(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    record(interpreter, true, arguments.first(), Vec::new())
}

fn fail(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    record(interpreter, false, arguments.first(), Vec::new())
}

fn skip(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let count = arguments.get(1).map_or(1, Value::to_int).clamp(0, 100_000);
    for _ in 0..count {
        record(interpreter, true, arguments.first(), b"skip".to_vec())?;
    }
    Err(Stop::Jump(crate::perl::Jump::Last, Some("SKIP".into())))
}

pub(super) fn expectation(got: &Value, expected: &Value) -> Vec<u8> {
    let shown = |value: &Value| if value.is_defined() { format!("'{}'", value.to_text()) } else { "undef".to_owned() };
    format!("         got: {}\n    expected: {}\n", shown(got), shown(expected)).into_bytes()
}

fn is(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let (got, expected) = (first(&arguments), arguments.get(1).cloned().unwrap_or_default());
    let passed = got.is_defined() == expected.is_defined() && got.to_bytes() == expected.to_bytes();
    let diagnostics = if passed { Vec::new() } else { expectation(&got, &expected) };
    record(interpreter, passed, arguments.get(2), diagnostics)
}

fn isnt(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let (got, expected) = (first(&arguments), arguments.get(1).cloned().unwrap_or_default());
    let same = got.is_defined() == expected.is_defined() && got.to_bytes() == expected.to_bytes();
    record(interpreter, !same, arguments.get(2), Vec::new())
}

fn matches(interpreter: &Interpreter, arguments: &[Value]) -> Outcome<bool> {
    let pattern = match arguments.get(1) {
        Some(Value::Regex(regex)) => regex.clone(),
        Some(other) => crate::model::Regex::new(other.to_bytes().to_vec(), ""),
        None => crate::model::Regex::new("", ""),
    };
    pattern.is_match(&first(arguments).to_bytes()).map_err(|error| interpreter.die(error.0))
}

fn like(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let passed = matches(interpreter, &arguments)?;
    let diagnostics = if passed {
        Vec::new()
    } else {
        expectation(&first(&arguments), &arguments.get(1).cloned().unwrap_or_default())
    };
    record(interpreter, passed, arguments.get(2), diagnostics)
}

fn unlike(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let passed = !matches(interpreter, &arguments)?;
    record(interpreter, passed, arguments.get(2), Vec::new())
}

fn compare(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let (got, expected) = (first(&arguments), arguments.get(2).cloned().unwrap_or_default());
    let order = got.to_number().partial_cmp(&expected.to_number());
    let passed = match arguments.get(1).map(Value::to_text).unwrap_or_default().as_str() {
        "==" => order.is_some_and(Ordering::is_eq),
        "!=" => order.is_none_or(Ordering::is_ne),
        "<" => order.is_some_and(Ordering::is_lt),
        "<=" => order.is_some_and(Ordering::is_le),
        ">" => order.is_some_and(Ordering::is_gt),
        ">=" => order.is_some_and(Ordering::is_ge),
        "eq" => got.to_bytes() == expected.to_bytes(),
        "ne" => got.to_bytes() != expected.to_bytes(),
        other => return Err(interpreter.die(format!("cmp_ok doesn't understand {other}"))),
    };
    record(interpreter, passed, arguments.get(3), if passed { Vec::new() } else { expectation(&got, &expected) })
}

fn is_deeply(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let (got, expected) = (first(&arguments), arguments.get(1).cloned().unwrap_or_default());
    let passed = same(&got, &expected, 0);
    record(interpreter, passed, arguments.get(2), if passed { Vec::new() } else { expectation(&got, &expected) })
}

fn same(left: &Value, right: &Value, depth: usize) -> bool {
    match (left, right) {
        _ if depth > 100 => false,
        (Value::Array(a), Value::Array(b)) => {
            let (a, b) = (a.borrow(), b.borrow());
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b, depth + 1))
        }
        (Value::Hash(a), Value::Hash(b)) => {
            let (a, b) = (a.borrow(), b.borrow());
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other, depth + 1)))
        }
        _ => left.is_defined() == right.is_defined() && left.to_bytes() == right.to_bytes(),
    }
}
