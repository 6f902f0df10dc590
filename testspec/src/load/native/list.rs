//! `List::Util` and `Scalar::Util`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use crate::model::{Code, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Want};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[
    NativeModule {
        name: "List::Util",
        parents: &[],
        functions: &[
            ("all", |it, arguments, _| quantified(it, &arguments, true, false), Some("&@")),
            ("any", |it, arguments, _| quantified(it, &arguments, false, true), Some("&@")),
            ("first", first_of, Some("&@")),
            ("max", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a.to_number() > b.to_number())]), None),
            ("maxstr", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a.to_bytes() > b.to_bytes())]), None),
            ("min", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a.to_number() < b.to_number())]), None),
            ("minstr", |_, arguments, _| Ok(vec![extreme(&arguments, |a, b| a.to_bytes() < b.to_bytes())]), None),
            ("none", |it, arguments, _| quantified(it, &arguments, false, false), Some("&@")),
            ("notall", |it, arguments, _| quantified(it, &arguments, true, true), Some("&@")),
            ("pairkeys", |_, arguments, _| Ok(arguments.into_iter().step_by(2).collect()), None),
            ("pairs", pairs, None),
            ("pairvalues", |_, arguments, _| Ok(arguments.into_iter().skip(1).step_by(2).collect()), None),
            ("product", |_, arguments, _| one(number(arguments.iter().map(Value::to_number).product())), None),
            ("reduce", reduce, Some("&@")),
            ("shuffle", shuffle, None),
            ("sum", |_, arguments, _| if arguments.is_empty() { one(Value::Undef) } else { sum(&arguments) }, None),
            ("sum0", |_, arguments, _| sum(&arguments), None),
            ("uniq", unique, None),
            ("uniqnum", unique, None),
            ("uniqstr", unique, None),
        ],
        exports: &[],
        setup: None,
    },
    NativeModule {
        name: "Scalar::Util",
        parents: &[],
        functions: &[
            (
                "blessed",
                |_, arguments, _| {
                    Ok(vec![match first(&arguments) {
                        Value::Object(object) => object.class.as_str().into(),
                        _ => Value::Undef,
                    }])
                },
                Some("$"),
            ),
            ("looks_like_number", looks_like_number, Some("$")),
            (
                "reftype",
                |_, arguments, _| {
                    let kind = match first(&arguments) {
                        Value::Object(object) => object.target.reference_kind().to_owned(),
                        other => other.reference_kind().to_owned(),
                    };
                    one(if kind.is_empty() { Value::Undef } else { kind.as_str().into() })
                },
                Some("$"),
            ),
            // Nothing here is freed behind anybody's back.
            ("weaken", |_, _, _| Ok(Vec::new()), Some("$")),
        ],
        exports: &[],
        setup: None,
    },
];

/// A whole number where it is one.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { Value::Int(number as i64) } else { Value::Num(number) }
}

fn sum(values: &[Value]) -> Outcome<Vec<Value>> {
    one(number(values.iter().map(Value::to_number).sum()))
}

fn extreme(values: &[Value], better: fn(&Value, &Value) -> bool) -> Value {
    values.iter().reduce(|best, value| if better(value, best) { value } else { best }).cloned().unwrap_or_default()
}

/// Calls the code with each item as `$_` until `wants_more` is false for a result.
fn each_as_topic(
    interpreter: &mut Interpreter,
    arguments: &[Value],
    mut wants_more: impl FnMut(&Value, bool) -> bool,
) -> Outcome<()> {
    let Some((Value::Code(code), items)) = arguments.split_first() else {
        return Err(interpreter.die("Not a subroutine reference"));
    };
    let topic = interpreter.scalar_cell(&"main::_".into());
    let outer = topic.borrow().clone();
    let mut result = Ok(());
    for item in items {
        *topic.borrow_mut() = item.clone();
        match interpreter.call(code, Vec::new(), Want::Scalar) {
            Ok(values) if wants_more(item, values.last().is_some_and(Value::is_true)) => {}
            Ok(_) => break,
            Err(stop) => {
                result = Err(stop);
                break;
            }
        }
    }
    *topic.borrow_mut() = outer;
    result
}

/// Looks for an item for which the code does not say `while_it_says`; the result is `found` if there is one.
fn quantified(
    interpreter: &mut Interpreter,
    arguments: &[Value],
    while_it_says: bool,
    found: bool,
) -> Outcome<Vec<Value>> {
    let mut result = !found;
    each_as_topic(interpreter, arguments, |_, says| {
        if says != while_it_says {
            result = found;
        }
        says == while_it_says
    })?;
    one(Value::bool(result))
}

fn first_of(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let mut found = Value::Undef;
    each_as_topic(interpreter, &arguments, |item, says| {
        if says {
            found = item.clone();
        }
        !says
    })?;
    one(found)
}

fn reduce(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let Some((Value::Code(code), items)) = arguments.split_first() else {
        return Err(interpreter.die("Not a subroutine reference"));
    };
    let package = package_of(code);
    let left = interpreter.scalar_cell(&format!("{package}::a").into());
    let right = interpreter.scalar_cell(&format!("{package}::b").into());
    let mut items = items.iter();
    let mut so_far = items.next().cloned().unwrap_or_default();
    for item in items {
        *left.borrow_mut() = so_far;
        *right.borrow_mut() = item.clone();
        so_far = interpreter.call(code, Vec::new(), Want::Scalar)?.pop().unwrap_or_default();
    }
    one(so_far)
}

/// The package that a subroutine was compiled in.
fn package_of(code: &Code) -> Rc<str> {
    match &code.0.kind {
        crate::perl::SubKind::Perl { definition, .. } => Rc::clone(&definition.package),
        _ => "main".into(),
    }
}

fn shuffle(_: &mut Interpreter, mut arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    use rand::seq::SliceRandom as _;
    arguments.shuffle(&mut rand::rng());
    Ok(arguments)
}

fn pairs(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let pair = |pair: &[Value]| Value::Array(Rc::new(RefCell::new(pair.to_vec())));
    Ok(arguments.chunks(2).map(pair).collect())
}

fn unique(_: &mut Interpreter, mut arguments: Vec<Value>, want: Want) -> Outcome<Vec<Value>> {
    let mut seen = HashSet::new();
    arguments.retain(|value| seen.insert(value.to_bytes()));
    if want == Want::List { Ok(arguments) } else { one(arguments.len() as i64) }
}

fn looks_like_number(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let text = first(&arguments).to_text();
    one(Value::bool(text.trim_start().trim_end_matches('\n').parse::<f64>().is_ok()))
}
