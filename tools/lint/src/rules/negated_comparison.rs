//! `not a == b`.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::lua::tree::{Binary, ExprKind, Unary};

pub(super) static RULE: Rule = Rule {
    id: "negated_comparison",
    group: Group::Correctness,
    severity: Severity::Warning,
    summary: "`not` binds tighter than the comparison behind it",
    page: PAGE,
    check,
};

const PAGE: &str = "\
`not` binds tighter than a comparison: `not a == b` is `(not a) == b`, which compares a boolean.

```lua
if not name == \"admin\" then             -- finding; write `name ~= \"admin\"`
    return ngx.exit(403)
end
```

Good:

```lua
if name ~= \"admin\" then
    return ngx.exit(403)
end
```

Comparing with `true`, `false`, or another negation is left alone.
";

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    for expr in &tree.exprs {
        let ExprKind::Binary { operator, left, right } = expr.kind else { continue };
        let compares = matches!(
            operator,
            Binary::Equal
                | Binary::NotEqual
                | Binary::Less
                | Binary::LessEqual
                | Binary::Greater
                | Binary::GreaterEqual
        );
        let left = tree.expr(left);
        let negated = matches!(left.kind, ExprKind::Unary { operator: Unary::Not, .. }) && !left.parenthesised;
        let boolean = match tree.expr(right).kind {
            ExprKind::True | ExprKind::False | ExprKind::Nil | ExprKind::Unary { operator: Unary::Not, .. } => true,
            ExprKind::Text | ExprKind::Number => false,
            // A variable may hold a boolean; comparing two truths this way is a known idiom.
            _ => matches!(operator, Binary::Equal | Binary::NotEqual),
        };
        if compares && negated && !boolean {
            sink.report(chunk, expr.range, "`not` applies to the left operand only, before the comparison")
                .help("turn the comparison round, or put it in parentheses");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    #[test]
    fn a_negation_compared_with_a_value_is_told() {
        assert_eq!(found("negated_comparison", "return not a == 'x', not #t > 0"), ["1:8", "1:22"]);
        assert!(
            found("negated_comparison", "return not (a == 1), (not a) == b, not a == not b, not a == true").is_empty()
        );
    }
}
