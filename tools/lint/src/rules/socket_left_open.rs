//! Connections that a way through the function neither keeps nor closes.

use rsty_diag::Severity;

use super::{Group, Rule, Sink};
use crate::chunk::Chunk;
use crate::flow::Step;
use crate::flow::solve::{State, forward};
use crate::lua::tree::{Binary, ExprId, ExprKind, FunctionId, LocalId, StatId, StatKind, Tree, Unary};

pub(super) static RULE: Rule = Rule {
    id: "socket_left_open",
    group: Group::Performance,
    severity: Severity::Warning,
    summary: "a connection is neither kept nor closed on some way",
    page: PAGE,
    check,
};

const PAGE: &str = "\
After `connect` succeeded, each way through the function should end in `setkeepalive`, which puts the connection into the
pool for the next request, or in `close`. Otherwise it stays open until the request is over and is then thrown away.

```lua
local red = require(\"resty.redis\"):new()
local ok, err = red:connect(\"127.0.0.1\", 6379)   -- finding
if not ok then
    return nil, err
end
local user = red:get(id)
if user == ngx.null then
    return nil                                    -- here it is left open
end
red:set_keepalive(10000, 100)
return user
```

Good:

```lua
local red = require(\"resty.redis\"):new()
local ok, err = red:connect(\"127.0.0.1\", 6379)
if not ok then
    return nil, err
end
local user, failure = red:get(id)
red:set_keepalive(10000, 100)
return user, failure
```

Ways on which a call of the connection failed are left alone: a broken connection can't be kept. So are connections that
are passed to other functions, stored or returned.
";

/// Functions that make something with a `connect` method, and modules whose `new` does.
fn makes_client(name: &str) -> bool {
    matches!(
        name,
        "ngx.socket.tcp"
            | "ngx.socket.stream"
            | "@resty.redis.new"
            | "@resty.mysql.new"
            | "@resty.memcached.new"
            | "@resty.http.new"
            | "@resty.websocket.client.new"
    )
}

/// A connection under watch.
struct Client {
    local: LocalId,
    function: FunctionId,
    /// The locals that its methods' results go to: those that are true when all went well, and the errors.
    results: Vec<LocalId>,
    errors: Vec<LocalId>,
}

fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>) {
    for client in clients(chunk) {
        follow(chunk, &client, sink);
    }
}

/// The clients of a chunk that are only used through their methods.
fn clients(chunk: &Chunk<'_>) -> Vec<Client> {
    let tree = chunk.tree;
    let mut clients: Vec<Client> = Vec::new();
    for (index, local) in tree.locals.iter().enumerate() {
        let Some(value) = local.value else { continue };
        if local.writes == 0 && !local.captured && made_by(chunk, value).is_some_and(|name| makes_client(&name)) {
            let id = LocalId(index as u32);
            clients.push(Client { local: id, function: local.function, results: Vec::new(), errors: Vec::new() });
        }
    }
    if clients.is_empty() {
        return clients;
    }
    // Uses other than methods and conditions let it escape.
    let mut method_uses = vec![0_u32; tree.locals.len()];
    for expr in &tree.exprs {
        let used = match expr.kind {
            ExprKind::MethodCall { object, .. } => object,
            ExprKind::Unary { operator: Unary::Not, operand } => operand,
            _ => continue,
        };
        if let ExprKind::Local(local) = tree.expr(used).kind {
            method_uses[local.index()] += 1;
        }
    }
    for stat in &tree.stats {
        if let StatKind::If { arms, .. } = stat.kind {
            for (condition, _) in tree.arms(arms) {
                if let ExprKind::Local(local) = tree.expr(condition).kind {
                    method_uses[local.index()] += 1;
                }
            }
        }
    }
    clients.retain(|client| tree.local(client.local).reads == method_uses[client.local.index()]);
    for client in &mut clients {
        gather_results(tree, client);
    }
    clients
}

/// What made a value: the path of a call, or `@module.new` for `module:new()`.
fn made_by(chunk: &Chunk<'_>, value: ExprId) -> Option<String> {
    let tree = chunk.tree;
    match tree.expr(value).kind {
        ExprKind::Call { callee, .. } => chunk.path(callee),
        ExprKind::MethodCall { object, method, .. } => {
            let mut path = chunk.path(object)?;
            path.push('.');
            path.push_str(std::str::from_utf8(tree.name(method)).ok()?);
            Some(path)
        }
        _ => None,
    }
}

fn gather_results(tree: &Tree<'_>, client: &mut Client) {
    let mut note = |value: Option<ExprId>, targets: &mut dyn Iterator<Item = LocalId>| {
        let Some(ExprKind::MethodCall { object, .. }) = value.map(|value| tree.expr(value).kind) else { return };
        if tree.expr(object).kind == ExprKind::Local(client.local) {
            client.results.extend(targets.next());
            client.errors.extend(targets.next());
        }
    };
    for stat in &tree.stats {
        match stat.kind {
            StatKind::Local { locals, values } if values.len() == 1 => {
                note(tree.expr_list(values).next(), &mut tree.local_list(locals));
            }
            StatKind::Assign { targets, values } if values.len() == 1 => {
                let local = |id| match tree.expr(id).kind {
                    ExprKind::Local(local) => Some(local),
                    _ => None,
                };
                note(tree.expr_list(values).next(), &mut tree.expr_list(targets).filter_map(local));
            }
            _ => {}
        }
    }
}

/// Where the connection may have been made without being kept or closed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Open(Option<ExprId>);

impl State for Open {
    fn join(&mut self, other: &Self) -> bool {
        let changed = self.0.is_none() && other.0.is_some();
        if changed {
            *self = *other;
        }
        changed
    }
}

fn follow(chunk: &Chunk<'_>, client: &Client, sink: &mut Sink<'_>) {
    let tree = chunk.tree;
    let mut left: Option<(ExprId, Option<StatId>)> = None;
    forward(
        chunk.flow().steps(client.function),
        Open(None),
        |_, step, taken, open| match step {
            Step::Call(call) => match method_of(tree, *call, client.local) {
                Some(b"connect") => open.0 = Some(*call),
                Some(b"close" | b"setkeepalive" | b"set_keepalive") => open.0 = None,
                // The request ends, and the connection with it.
                None if ends_request(chunk, *call) => open.0 = None,
                _ => {}
            },
            Step::Branch { condition: Some(condition), .. } if failed(tree, *condition, client, !taken) => {
                open.0 = None;
            }
            _ => {}
        },
        |_, step, open| {
            if let (Step::Return(stat), Some(connect)) = (step, open.0) {
                left = left.or(Some((connect, *stat)));
            }
        },
    );
    if let Some((connect, stat)) = left {
        let name = chunk.text(tree.local(client.local).name);
        let range = tree.expr(connect).range;
        let finding = sink.report(chunk, range, format!("the connection of `{name}` may be left open"));
        finding.help("call `setkeepalive` or `close` on every way");
        if let Some(stat) = stat {
            finding.note(chunk, tree.stat(stat).range, "this way neither keeps nor closes it");
        }
    }
}

fn method_of<'s>(tree: &Tree<'s>, call: ExprId, local: LocalId) -> Option<&'s [u8]> {
    match tree.expr(call).kind {
        ExprKind::MethodCall { object, method, .. } if tree.expr(object).kind == ExprKind::Local(local) => {
            Some(tree.name(method))
        }
        _ => None,
    }
}

fn ends_request(chunk: &Chunk<'_>, call: ExprId) -> bool {
    let Ok(index) = chunk.calls.binary_search_by_key(&call, |call| call.expr) else { return false };
    matches!(chunk.callee(&chunk.calls[index]), "ngx.exit" | "ngx.exec" | "ngx.redirect" | "error" | "os.exit")
}

/// Whether something about the connection failed where the condition is `value`.
fn failed(tree: &Tree<'_>, condition: ExprId, client: &Client, value: bool) -> bool {
    let is_nil = |id: ExprId| matches!(tree.expr(id).kind, ExprKind::Nil | ExprKind::False);
    match tree.expr(condition).kind {
        ExprKind::Local(local) => {
            let bad = !value && (client.results.contains(&local) || local == client.local);
            bad || value && client.errors.contains(&local)
        }
        ExprKind::Unary { operator: Unary::Not, operand } => failed(tree, operand, client, !value),
        ExprKind::Binary { operator: Binary::Equal, left, right } if is_nil(right) => {
            failed(tree, left, client, !value)
        }
        ExprKind::Binary { operator: Binary::NotEqual, left, right } if is_nil(right) => {
            failed(tree, left, client, value)
        }
        ExprKind::Binary { operator: Binary::Or, left, right } if value => {
            failed(tree, left, client, true) || failed(tree, right, client, true)
        }
        ExprKind::Binary { operator: Binary::And, left, right } if !value => {
            failed(tree, left, client, false) || failed(tree, right, client, false)
        }
        ExprKind::Binary { operator: Binary::And, left, right } if value => {
            failed(tree, left, client, true) || failed(tree, right, client, true)
        }
        ExprKind::MethodCall { object, .. } => !value && tree.expr(object).kind == ExprKind::Local(client.local),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::found;

    const MADE: &str = "local s = ngx.socket.tcp() local ok, err = s:connect('h', 1) if not ok then return end ";

    fn after(text: &str) -> usize {
        found("socket_left_open", &format!("local function f() {MADE}{text} end")).len()
    }

    #[test]
    fn ways_that_leave_it_open_are_told() {
        assert_eq!(found("socket_left_open", &format!("{MADE} s:send('x')")), ["1:44"]);
        assert_eq!(after("if x then return end s:close()"), 1);
        assert_eq!(after("while x do if y then break end s:send('a') end"), 1);
        assert_eq!(found("socket_left_open", "local r = require('resty.redis'):new() r:connect('h', 1)").len(), 1);
    }

    #[test]
    fn ways_that_keep_or_close_it_are_not() {
        assert_eq!(after("s:close()"), 0);
        assert_eq!(after("local l, e = s:receive() if not l then return nil, e end return s:setkeepalive()"), 0);
        assert_eq!(after("if x then s:close() return end s:setkeepalive(1, 2)"), 0);
        assert_eq!(after("if x then ngx.exit(500) end s:close()"), 0);
        assert_eq!(after("if not s:send('x') then return end s:close()"), 0);
    }

    #[test]
    fn connections_that_others_may_close_are_left_alone() {
        for text in ["return s", "g(s)", "self.s = s", "h(function() s:close() end)", "local t = s"] {
            assert_eq!(after(text), 0, "{text}");
        }
    }
}
