//! Prints plan and values of spec files as JSON lines, for comparison with the original.
#![allow(clippy::print_stdout, reason = "an example's output")]

use std::rc::Rc;

use rsty_diag::Source;
use rsty_testspec::load::{Environment, VersionText, load};
use rsty_testspec::model::{Plan, Value};
use serde_json::{Value as Json, json};

fn to_json(value: &Value) -> Json {
    match value {
        Value::Undef => Json::Null,
        Value::Array(items) => Json::Array(items.borrow().iter().map(to_json).collect()),
        Value::Regex(regex) => json!({ "re": latin(&regex.to_text()) }),
        Value::Code(_) => json!("CODE"),
        Value::Hash(map) => {
            json!({ "hash": map.borrow().iter().map(|(key, value)| json!([latin(key), to_json(value)])).collect::<Vec<_>>() })
        }
        other => json!(latin(&other.to_bytes())),
    }
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let version: Rc<str> = std::fs::read_to_string(&arguments[0]).unwrap_or_default().into();
    let root = arguments[1].clone();
    let files: Vec<String> = arguments[2..].to_vec();
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn({
        let version = version.to_string();
        move || {
            for file in files {
                let source = Source::new(&file, std::fs::read(std::path::Path::new(&root).join(&file)).unwrap_or_default());
                let mut environment = Environment::new(&root);
                environment.variables = std::env::vars().map(|(name, value)| (name, value.into_bytes())).collect();
                let text = version.clone();
                environment.nginx_version = VersionText::new(move || text.clone().into_bytes());
                let started = std::time::Instant::now();
                let result = load(&source, environment);
                let took = started.elapsed().as_secs_f64() * 1000.0;
                match result {
                    Ok(spec) => {
                        let plan = match spec.plan() {
                            Plan::Tests(count) => json!(count),
                            Plan::NoPlan => json!("no_plan"),
                            Plan::SkipAll(reason) => json!({ "skip_all": latin(&reason) }),
                        };
                        let mut blocks = Vec::new();
                        for block in spec.blocks() {
                            let values = |block: &rsty_testspec::model::Block| -> Vec<Json> {
                                let sections = block.sections().into_iter();
                                sections.map(|s| json!([s.name, to_json(&s.value), s.filters.iter().any(|f| f == "eval")])).collect()
                            };
                            let before = values(block);
                            let error = spec.preprocess(block).err().map(|error| error.to_string());
                            blocks.push(json!({ "name": latin(&block.name()), "before": before, "after": values(block), "error": error }));
                        }
                        println!("{}", json!({ "file": file, "plan": plan, "blocks": blocks, "ms": took, "repeat": spec.settings().repeat_each }));
                        let _ = spec.finish();
                    }
                    Err(problems) => {
                        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                        println!("{}", json!({ "file": file, "error": problems, "ms": took }));
                    }
                }
            }
        }
    });
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}
