//! Response headers set after the response began.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{BlockId, ExprId, StatKind};

pub(super) static RULE: Rule = Rule {
    id: "header_after_output",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "a response header or the status is set after output",
    page: PAGE,
    check,
};

const PAGE: &str = "\
Headers and status are sent with the first output; setting them afterwards only logs an error.

```lua
ngx.say(\"hello\")
ngx.header[\"X-Answer\"] = 42             -- finding
ngx.status = 201                         -- finding
```

Only statements of the same block are compared.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut output: Vec<ExprId> = Vec::new();
    for call in &chunk.calls {
        if matches!(chunk.callee(call), "ngx.say" | "ngx.print" | "ngx.flush" | "ngx.eof" | "ngx.send_headers") {
            output.push(call.expr);
        }
    }
    if output.is_empty() {
        return;
    }
    for block in 0..tree.blocks.len() {
        let mut sent = None;
        for id in tree.block_stats(BlockId(block as u32)) {
            let stat = tree.stat(id);
            match stat.kind {
                StatKind::Call(call) if output.binary_search(&call).is_ok() => sent = sent.or(Some(stat.range)),
                StatKind::Assign { targets, .. } => {
                    let Some(sent) = sent else { continue };
                    for target in tree.expr_list(targets) {
                        let path = tree.global_path(target).unwrap_or_default();
                        let what = match path.as_slice() {
                            [b"ngx", b"header", ..] => "header",
                            [b"ngx", b"status"] => "status",
                            _ => continue,
                        };
                        sink.report(chunk, tree.expr(target).range, format!("the {what} is set after output")).note(
                            chunk,
                            sent,
                            "the headers are sent here",
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn only_what_comes_after_output_is_told() {
        assert_eq!(found("header_after_output", "ngx.say(1)\nngx.header.a = 1\nngx.status = 2"), ["2:1", "3:1"]);
        assert!(
            found("header_after_output", "ngx.header.a = 1 ngx.say(1) x = 1 if y then ngx.status = 1 end").is_empty()
        );
    }
}
