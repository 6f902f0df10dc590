//! `Protocol::WebSocket::Frame`: building frames.

use std::rc::Rc;

use crate::model::{HashMap, Object, Value};
use crate::perl::{Interpreter, NativeModule, Outcome, Want};

use super::{first, one};

pub(super) const MODULES: &[NativeModule] = &[NativeModule {
    name: "Protocol::WebSocket::Frame",
    parents: &[],
    functions: &[("new", new, None), ("to_bytes", to_bytes, None)],
    exports: &[],
    setup: None,
}];

/// `new($buffer)` or `new(buffer => …, type => …, fin => …, masked => …)`.
fn new(_: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let rest = arguments.get(1..).unwrap_or_default();
    let mut map = HashMap::default();
    if let [buffer] = rest {
        map.insert(b"buffer", buffer.clone());
    } else {
        for pair in rest.chunks(2) {
            map.insert(&first(pair).to_bytes(), pair.get(1).cloned().unwrap_or_default());
        }
    }
    let target = Value::Hash(Rc::new(std::cell::RefCell::new(map)));
    one(Value::Object(Rc::new(Object { class: "Protocol::WebSocket::Frame".to_owned(), target })))
}

/// The frame as RFC 6455 puts it on the wire.
fn to_bytes(interpreter: &mut Interpreter, arguments: Vec<Value>, _: Want) -> Outcome<Vec<Value>> {
    let Some(Value::Object(object)) = arguments.first() else {
        return Err(interpreter.die("to_bytes is a method"));
    };
    let Value::Hash(map) = &object.target else {
        return Err(interpreter.die("to_bytes is a method"));
    };
    let map = map.borrow();
    let payload = map.get(b"buffer").map(Value::to_bytes).unwrap_or_default();
    let kind = map.get(b"type").map_or_else(|| "text".to_owned(), Value::to_text);
    let opcode = match (map.get(b"opcode"), kind.as_str()) {
        (Some(opcode), _) => opcode.to_int() as u8,
        (None, "continuation") => 0,
        (None, "binary") => 2,
        (None, "close") => 8,
        (None, "ping") => 9,
        (None, "pong") => 10,
        (None, _) => 1,
    };
    let fin = map.get(b"fin").is_none_or(Value::is_true);
    let masked = map.get(b"masked").is_some_and(Value::is_true);
    let mut frame = vec![opcode | if fin { 0x80 } else { 0 }];
    let mask_bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..126 => frame.push(len as u8 | mask_bit),
        len @ 126..0x1_0000 => {
            frame.push(0x7e | mask_bit);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x7f | mask_bit);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        // Any key will do; a fixed one keeps runs alike.
        let key = [0x37, 0xfa, 0x21, 0x3d];
        frame.extend(key);
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend_from_slice(&payload);
    }
    one(Value::str(frame))
}
