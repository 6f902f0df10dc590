//! Functions that yield lists: `split`, `map`, `sort`, `keys`, …

use std::cmp::Ordering;

use crate::model::Value;
use crate::perl::ast::{Block, Expr, ListOp, Name};
use crate::perl::builtin::Builtin;
use crate::perl::{pack, time};

use super::place::{is_hash, wrap};
use super::{Interpreter, Outcome, Want};

impl Interpreter {
    /// Evaluates a function that means something else in list context. `false` if it does not.
    pub(super) fn list_function(
        &mut self,
        builtin: Builtin,
        arguments: &[Expr],
        out: &mut Vec<Value>,
    ) -> Outcome<bool> {
        match builtin {
            Builtin::Split => self.split(arguments, out)?,
            Builtin::Reverse => {
                let mut items = self.list_of(arguments)?;
                items.reverse();
                out.append(&mut items);
            }
            Builtin::Keys | Builtin::Values => self.entries(builtin, arguments, out)?,
            Builtin::Each => {
                if let Some(container) = arguments.first() {
                    out.append(&mut self.each(container)?);
                }
            }
            Builtin::Localtime | Builtin::Gmtime => {
                let seconds = self.time_argument(arguments)?;
                let parts = if builtin == Builtin::Gmtime { time::utc(seconds) } else { time::local(seconds) };
                out.extend(parts.fields().into_iter().map(Value::Int));
            }
            Builtin::Unpack => {
                let values = self.list_of(arguments)?;
                let template = values.first().map(Value::to_bytes).unwrap_or_default();
                let data = match values.get(1) {
                    Some(data) => data.to_bytes(),
                    None => self.global("main::_").to_bytes(),
                };
                let unpacked = pack::unpack(&template, &data).map_err(|error| self.die(error))?;
                out.extend(unpacked);
            }
            Builtin::Splice => {
                let removed = self.splice(arguments)?;
                out.extend(removed);
            }
            Builtin::Caller => {
                out.push(Value::str(self.package.as_bytes()));
                out.push(Value::str(self.unit.name.as_bytes()));
                out.push(Value::Int(self.unit.line(self.at as usize) as i64));
            }
            Builtin::Delete => match arguments.first() {
                Some(Expr::HashSlice(hash, keys)) => {
                    let hash = self.hash_of(hash)?;
                    for key in self.list(keys)? {
                        let removed = hash.borrow_mut().remove(&key.to_bytes());
                        out.push(removed.unwrap_or_default());
                    }
                }
                _ => return Ok(false),
            },
            Builtin::Readline => {
                let Some(file) = arguments.first() else {
                    return Ok(false);
                };
                let file = self.scalar(file)?;
                while let line @ Value::Str(_) = self.read_line(&file)? {
                    out.push(line);
                }
            }
            _ => return self.folder_list(builtin, arguments, out),
        }
        Ok(true)
    }

    fn entries(&mut self, builtin: Builtin, arguments: &[Expr], out: &mut Vec<Value>) -> Outcome<()> {
        let Some(container) = arguments.first() else {
            return Ok(());
        };
        if is_hash(container) {
            let hash = self.hash_of(container)?;
            self.end_walk(&hash);
            for (key, value) in hash.borrow().iter() {
                out.push(if builtin == Builtin::Keys { Value::str(key) } else { value.clone() });
            }
            return Ok(());
        }
        let array = self.array_of(container)?;
        match builtin {
            Builtin::Keys => out.extend((0..array.borrow().len()).map(|index| Value::Int(index as i64))),
            _ => out.extend(array.borrow().iter().cloned()),
        }
        Ok(())
    }

    pub(super) fn splice(&mut self, arguments: &[Expr]) -> Outcome<Vec<Value>> {
        let Some((array, rest)) = arguments.split_first() else {
            return Ok(Vec::new());
        };
        let array = self.array_of(array)?;
        let rest = self.list_of(rest)?;
        let len = array.borrow().len();
        let start = rest.first().map_or(0, |value| wrap(value.to_int(), len).unwrap_or(0)).min(len);
        let count = match rest.get(1) {
            Some(count) if count.to_int() < 0 => usize::try_from((len - start) as i64 + count.to_int()).unwrap_or(0),
            Some(count) => usize::try_from(count.to_int()).unwrap_or(0),
            None => len - start,
        };
        let new = rest.get(2..).unwrap_or_default().to_vec();
        let removed = array.borrow_mut().splice(start..(start + count).min(len), new).collect();
        Ok(removed)
    }

    pub(super) fn list_operator(
        &mut self,
        op: ListOp,
        code: Option<&Expr>,
        body: Option<&Block>,
        list: &[Expr],
        package: &Name,
        out: &mut Vec<Value>,
    ) -> Outcome<()> {
        let items = self.list_of(list)?;
        if op == ListOp::Sort {
            let mut sorted = self.sorted(items, code, body, package)?;
            out.append(&mut sorted);
            return Ok(());
        }
        let topic = self.scalar_cell(&"main::_".into());
        let outer = topic.borrow().clone();
        let result = (|| {
            for item in items {
                self.step()?;
                *topic.borrow_mut() = item.clone();
                if op == ListOp::Map {
                    match (code, body) {
                        (_, Some(body)) => out.append(&mut self.block(body, Want::List)?),
                        (Some(code), None) => self.list_into(code, out)?,
                        (None, None) => {}
                    }
                    self.fits(out.len().saturating_mul(16))?;
                } else {
                    let keeps = match (code, body) {
                        (_, Some(body)) => super::expression::last(self.block(body, Want::Scalar)?).is_true(),
                        (Some(code), None) => self.scalar(code)?.is_true(),
                        (None, None) => false,
                    };
                    if keeps {
                        let item = topic.borrow().clone();
                        out.push(item);
                    }
                }
            }
            Ok(())
        })();
        *topic.borrow_mut() = outer;
        result
    }

    fn sorted(
        &mut self,
        mut items: Vec<Value>,
        code: Option<&Expr>,
        body: Option<&Block>,
        package: &Name,
    ) -> Outcome<Vec<Value>> {
        if code.is_none() && body.is_none() {
            items.sort_by_key(Value::to_bytes);
            return Ok(items);
        }
        let left_cell = self.scalar_cell(&format!("{package}::a").into());
        let right_cell = self.scalar_cell(&format!("{package}::b").into());
        let comparator = match code {
            Some(code) => {
                let value = self.scalar(code)?;
                super::call::code_of(&value)
            }
            None => None,
        };
        let mut failure = None;
        items.sort_by(|left, right| {
            if failure.is_some() {
                return Ordering::Equal;
            }
            *left_cell.borrow_mut() = left.clone();
            *right_cell.borrow_mut() = right.clone();
            let result = match (&comparator, body) {
                (Some(code), _) => self.call(code, Vec::new(), Want::Scalar),
                (None, Some(body)) => self.block(body, Want::Scalar),
                (None, None) => Ok(Vec::new()),
            };
            match result {
                Ok(values) => super::expression::last(values).to_int().cmp(&0),
                Err(stop) => {
                    failure = Some(stop);
                    Ordering::Equal
                }
            }
        });
        match failure {
            Some(stop) => Err(stop),
            None => Ok(items),
        }
    }

    pub(super) fn time_argument(&mut self, arguments: &[Expr]) -> Outcome<i64> {
        Ok(match arguments.first() {
            Some(expr) => self.scalar(expr)?.to_int(),
            None => time::now(),
        })
    }
}
