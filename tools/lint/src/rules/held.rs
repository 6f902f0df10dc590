//! What is taken by one method of an object and has to be given back by another on every way through the function.

use super::Sink;
use crate::chunk::Chunk;
use crate::flow::Step;
use crate::flow::solve::{State, forward};
use crate::lua::tree::{Binary, ExprId, ExprKind, FunctionId, LocalId, StatId, StatKind, Tree, Unary};

/// A kind of object.
pub(super) struct Held {
    /// Functions that make one; `@module.new` for `require("module"):new()`.
    pub makers: &'static [&'static str],
    /// The method that takes.
    pub takes: &'static [u8],
    /// The methods that give back.
    pub gives_back: &'static [&'static [u8]],
    /// What is said, given the object's name.
    pub message: fn(&str) -> String,
    /// What to do.
    pub help: &'static str,
    /// What is said about the way that does not give back.
    pub note: &'static str,
}

/// An object under watch.
struct Client {
    local: LocalId,
    function: FunctionId,
    /// The locals that its methods' results go to: those that are true when all went well, and the errors.
    results: Vec<LocalId>,
    errors: Vec<LocalId>,
}

/// Reports each object that a way through its function leaves taken.
pub(super) fn check(chunk: &Chunk<'_>, sink: &mut Sink<'_>, held: &Held) {
    for client in clients(chunk, held) {
        follow(chunk, &client, sink, held);
    }
}

/// The objects of a chunk that are only used through their methods.
fn clients(chunk: &Chunk<'_>, held: &Held) -> Vec<Client> {
    let tree = chunk.tree;
    let mut clients: Vec<Client> = Vec::new();
    for (index, local) in tree.locals.iter().enumerate() {
        let Some(value) = local.value else { continue };
        if local.writes == 0
            && !local.captured
            && made_by(chunk, value).is_some_and(|name| held.makers.contains(&name.as_str()))
        {
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

/// Where the object may have been taken without being given back yet.
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

fn follow(chunk: &Chunk<'_>, client: &Client, sink: &mut Sink<'_>, held: &Held) {
    let tree = chunk.tree;
    let mut left: Option<(ExprId, Option<StatId>)> = None;
    forward(
        chunk.flow().steps(client.function),
        Open(None),
        |_, step, taken, open| match step {
            Step::Call(call) => match method_of(tree, *call, client.local) {
                Some(method) if method == held.takes => open.0 = Some(*call),
                Some(method) if held.gives_back.contains(&method) => open.0 = None,
                // The request ends, and what it held with it.
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
        let finding = sink.report(chunk, range, (held.message)(&name));
        finding.help(held.help);
        if let Some(stat) = stat {
            finding.note(chunk, tree.stat(stat).range, held.note);
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

/// Whether something about the object failed where the condition is `value`.
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
