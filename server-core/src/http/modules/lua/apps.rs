//! `lua_app`: apps that share a server, and are deployed one by one.
//!
//! An app's number is its place in the configuration. How often each was deployed anew stands in memory that all workers
//! share: whoever deploys one counts up, and each worker follows when a request needs the app, or within
//! [`INTERVAL`]. A worker whose attempt fails says so and goes on with what it has.

use std::cell::OnceCell;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rsty_diag::Diagnostic;

use super::conf::StartScript;
use super::directives::start_script_of;
use super::startup;
use crate::conf::{Arity, Contexts, Directive, Rule, value};
use crate::cycle::Cycle;
use crate::http::Request;
use crate::http::conf::Scope;
use crate::log::Level;
use crate::log_at;
use crate::lua::Vm;
use crate::lua::apps::{Apps, Plan, Space};
use crate::lua::next_turn::next_turn;
use crate::lua::sys::raw::*;
use crate::lua::vm::{VmError, expand_path};
use crate::shared_dict::Numbers;

/// How soon a worker without requests follows.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long requests and timers may hold a space that was replaced before the log tells.
const PATIENCE: Duration = Duration::from_secs(10);
/// Full collections after which a space must be gone: one may be under way, and finalizers take another.
const COLLECTIONS: usize = 3;

/// The apps of `http { }`.
#[derive(Debug, Default)]
pub(crate) struct AppsConf {
    apps: Vec<App>,
    /// `lua_app_shared_path`
    shared_path: Option<Box<[u8]>>,
    /// `lua_app_shared_cpath`
    shared_cpath: Option<Box<[u8]>>,
    /// The app whose block is being read.
    building: Option<usize>,
    /// How often each was deployed anew.
    generations: OnceCell<Numbers>,
}

/// An app, as far as it is known.
#[derive(Debug)]
struct App {
    plan: Plan,
    root: Option<Vec<u8>>,
    path: Option<Box<[u8]>>,
    cpath: Option<Box<[u8]>>,
    init_worker: Option<StartScript>,
    is_defined: bool,
    /// Where it was named first.
    place: Directive,
}

/// What `lua_app` says in a server or location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Scripts run in this app.
    App(usize),
    /// Scripts run in none.
    Off,
}

impl AppsConf {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// The names, in the order of the configuration.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.apps.iter().map(|app| &*app.plan.name)
    }

    /// The number of an app, which may be defined later in the file.
    fn number_of(&mut self, name: &[u8], place: &Directive) -> usize {
        if let Some(known) = self.apps.iter().position(|app| *app.plan.name == *name) {
            return known;
        }
        self.apps.push(App {
            plan: Plan { name: name.into(), ..Plan::default() },
            root: None,
            path: None,
            cpath: None,
            init_worker: None,
            is_defined: false,
            place: place.clone(),
        });
        self.apps.len() - 1
    }

    fn building(&mut self) -> Option<&mut App> {
        self.building.and_then(|number| self.apps.get_mut(number))
    }

    /// Checks the apps when the whole configuration has been read.
    pub(crate) fn finish(&self) -> Result<(), Diagnostic> {
        match self.apps.iter().find(|app| !app.is_defined) {
            Some(app) => {
                let name = String::from_utf8_lossy(&app.plan.name);
                let help = format!("define it in http: `lua_app {name} {{ root DIRECTORY; }}`");
                Err(app.place.error("unknown_app", format!("unknown lua_app \"{name}\"")).help(help))
            }
            None => Ok(()),
        }
    }

    /// `package.path` and `package.cpath` of the layer that all apps share.
    fn shared_paths(&self, cycle: &Cycle) -> (Vec<u8>, Vec<u8>) {
        let prefix = cycle.prefix().as_os_str().as_encoded_bytes();
        let path = |template: &Option<Box<[u8]>>| expand_path(template.as_deref().unwrap_or_default(), b"", prefix);
        (path(&self.shared_path), path(&self.shared_cpath))
    }

    /// Where an app's modules are looked for before those of the server, each with a separator behind it.
    pub(crate) fn paths(&self, cycle: &Cycle, app: usize) -> (Vec<u8>, Vec<u8>) {
        let (shared_path, shared_cpath) = self.shared_paths(cycle);
        let (path, cpath) = self.apps.get(app).map(|app| (&app.plan.path[..], &app.plan.cpath[..])).unwrap_or_default();
        ([path, b";", &shared_path, b";"].concat(), [cpath, b";", &shared_cpath, b";"].concat())
    }

    fn generation(&self, app: usize) -> i64 {
        self.generations.get().and_then(|all| all.get(app)).map_or(0, |number| number.load(Ordering::Acquire))
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "lua_app", contexts: Contexts::HTTP, args: Arity::Block(1, 1), apply: define },
    Rule {
        name: "lua_app",
        contexts: Contexts::SERVER.or(Contexts::LOCATION).or(Contexts::IF_IN_LOCATION),
        args: Arity::Words(1, 1),
        apply: choose,
    },
    Rule {
        name: "lua_app_shared_path",
        contexts: Contexts::HTTP,
        args: Arity::Words(1, 1),
        apply: |scope, directive| value::set_string(&mut scope.main.lua.apps.shared_path, directive),
    },
    Rule {
        name: "lua_app_shared_cpath",
        contexts: Contexts::HTTP,
        args: Arity::Words(1, 1),
        apply: |scope, directive| value::set_string(&mut scope.main.lua.apps.shared_cpath, directive),
    },
    inner("root", Arity::Words(1, 1), |scope, directive| {
        let Some(word) = directive.arg(0) else { return Ok(()) };
        let root = scope.cycle.full_path(&word.text).into_os_string().into_encoded_bytes();
        let before = scope.main.lua.apps.building().and_then(|app| app.root.replace(root));
        if before.is_some() { Err(value::duplicate(directive)) } else { Ok(()) }
    }),
    inner("lua_package_path", Arity::Words(1, 1), |scope, directive| {
        scope.main.lua.apps.building().map_or(Ok(()), |app| value::set_string(&mut app.path, directive))
    }),
    inner("lua_package_cpath", Arity::Words(1, 1), |scope, directive| {
        scope.main.lua.apps.building().map_or(Ok(()), |app| value::set_string(&mut app.cpath, directive))
    }),
    inner("init_worker_by_lua_block", Arity::LuaBlock(0, 0), init_worker),
    inner("init_worker_by_lua_file", Arity::Words(1, 1), init_worker),
];

const fn inner(
    name: &'static str,
    args: Arity,
    apply: fn(&mut Scope<'_>, &Directive) -> Result<(), Diagnostic>,
) -> Rule {
    Rule { name, contexts: Contexts::LUA_APP, args, apply }
}

/// `lua_app NAME { … }`
fn define(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    if word.text.is_empty() || &*word.text == b"off" {
        let message = format!("invalid lua_app name \"{}\"", word.lossy());
        return Err(directive.error_at(word, "invalid_value", message));
    }
    let conf = &mut scope.main.lua;
    conf.used = true;
    let number = conf.apps.number_of(&word.text, directive);
    if conf.apps.apps.get(number).is_some_and(|app| app.is_defined) {
        let message = format!("duplicate lua_app \"{}\"", word.lossy());
        return Err(directive.error_at(word, "duplicate_directive", message));
    }
    conf.apps.building = Some(number);
    scope.nested(Contexts::LUA_APP, directive)?;
    let prefix = scope.cycle.prefix.as_os_str().as_encoded_bytes().to_vec();
    let Some(app) = scope.main.lua.apps.building() else { return Ok(()) };
    app.is_defined = true;
    if app.root.is_none() && app.path.is_none() {
        let message = format!("lua_app \"{}\" has neither \"root\" nor \"lua_package_path\"", word.lossy());
        return Err(directive.error("incomplete_app", message));
    }
    let (mut path, mut cpath) = (Vec::new(), Vec::new());
    if let Some(root) = &app.root {
        path = [&root[..], b"/?.lua;", root, b"/?/init.lua"].concat();
        cpath = [&root[..], b"/?.so"].concat();
    }
    app.plan.path = app.path.as_deref().map_or(path.clone(), |template| expand_path(template, &path, &prefix));
    app.plan.cpath = app.cpath.as_deref().map_or(cpath.clone(), |template| expand_path(template, &cpath, &prefix));
    scope.main.lua.apps.building = None;
    Ok(())
}

/// `lua_app NAME;`, `lua_app off;`
fn choose(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let Some(word) = directive.arg(0) else { return Ok(()) };
    let choice = match &*word.text {
        b"off" => Choice::Off,
        name => Choice::App(scope.main.lua.apps.number_of(name, directive)),
    };
    if scope.loc.lua.app.replace(choice).is_some() {
        return Err(value::duplicate(directive));
    }
    Ok(())
}

fn init_worker(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let script = start_script_of(scope, directive, "init_worker_by_lua")?;
    let before = scope.main.lua.apps.building().and_then(|app| app.init_worker.replace(script));
    if before.is_some() { Err(value::duplicate(directive)) } else { Ok(()) }
}

/// Makes an interpreter ready for the apps of its configuration, before any script ran in it.
pub(super) fn install(cycle: &Cycle, vm: &Vm) -> Result<(), VmError> {
    let conf = &cycle.http.lua.apps;
    if conf.is_empty() {
        return Ok(());
    }
    let (path, cpath) = conf.shared_paths(cycle);
    vm.apps.install(vm, &path, &cpath)?;
    crate::lua::api::http::apps::preload(vm.state());
    Ok(())
}

/// Deploys the apps in an interpreter whose `init_by_lua*` is through.
pub(super) fn open(cycle: &Cycle, vm: &Rc<Vm>) -> Result<(), VmError> {
    let conf = &cycle.http.lua.apps;
    if conf.is_empty() {
        return Ok(());
    }
    if conf.generations.get().is_none() {
        let numbers = Numbers::new(conf.apps.len())
            .map_err(|error| VmError::Layer { name: "apps".into(), message: error.to_string() })?;
        // Just asked for.
        let _ = conf.generations.set(numbers);
    }
    for (number, app) in conf.apps.iter().enumerate() {
        let space = vm
            .apps
            .create(vm, number, &app.plan, conf.generation(number), None)
            .map_err(|message| VmError::Layer { name: "apps".into(), message })?;
        vm.apps.deploy(space);
    }
    Ok(())
}

/// Begins a worker: the apps' own `init_worker_by_lua*`, and following what other workers deploy.
pub(super) fn init_worker_of_apps(cycle: &'static Cycle) {
    let lua = &cycle.http.lua;
    let Some(vm) = lua.vm.get().filter(|_| !lua.apps.is_empty()) else { return };
    for (number, app) in lua.apps.apps.iter().enumerate() {
        let Some(space) = vm.apps.space(number) else { continue };
        if let Err(message) = run_init_worker(cycle, vm, &space) {
            let name = String::from_utf8_lossy(&app.plan.name);
            log_at!(cycle.log, Level::Error, "init_worker_by_lua of lua_app \"{name}\" error: {message}");
        }
    }
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            for number in 0..lua.apps.apps.len() {
                present(cycle, vm, number);
            }
        }
    });
}

/// The space in which a script of a request runs; `None` outside of apps.
///
/// A request keeps its space from its first script on, also when the app is deployed anew meanwhile.
pub(crate) fn enter(vm: &Rc<Vm>, r: &Rc<Request>) -> Option<Rc<Space>> {
    if r.main_conf().lua.apps.is_empty() {
        return None;
    }
    let space = match r.loc().lua.app {
        Some(Choice::App(number)) => {
            let fits = |space: &Rc<Space>| space.app == number && space.is_of(vm);
            let own = r.app.borrow().clone().filter(fits);
            own.or_else(|| r.parent().and_then(|parent| parent.app.borrow().clone().filter(fits)))
                .or_else(|| present(r.conn().cycle(), vm, number))
        }
        Some(Choice::Off) | None => None,
    };
    set(r, space.clone());
    space
}

/// Lets a request run in a space.
pub(crate) fn set(r: &Request, space: Option<Rc<Space>>) {
    if let Some(ctx) = r.lua.borrow().as_ref() {
        ctx.space.replace(space.clone());
    }
    r.app.replace(space);
}

/// The present space of an app; first, this worker follows what another one has deployed.
fn present(cycle: &'static Cycle, vm: &Rc<Vm>, number: usize) -> Option<Rc<Space>> {
    let space = vm.apps.space(number)?;
    let lua = &cycle.http.lua;
    let wanted = lua.apps.generation(number);
    let is_workers = lua.vm.get().is_some_and(|own| Rc::ptr_eq(own, vm));
    if !is_workers || wanted == space.generation || wanted == space.refused.get() {
        return Some(space);
    }
    // Also while it is being deployed.
    space.refused.set(wanted);
    if let Err(message) = deploy(cycle, vm, number, wanted) {
        let name = name_of(cycle, number);
        log_at!(cycle.log, Level::Error, "failed to deploy lua_app \"{name}\", the old code goes on: {message}");
    }
    vm.apps.space(number)
}

fn name_of(cycle: &Cycle, number: usize) -> String {
    cycle.http.lua.apps.names().nth(number).map_or_else(String::new, |name| String::from_utf8_lossy(name).into_owned())
}

/// Deploys an app anew in this worker, and lets the others follow when that succeeds.
pub(crate) fn reload(cycle: &'static Cycle, vm: &Rc<Vm>, number: usize) -> Result<(), String> {
    let lua = &cycle.http.lua;
    if lua.vm.get().is_none_or(|own| !Rc::ptr_eq(own, vm)) {
        return Err("lua_code_cache is off".to_owned());
    }
    let generation = lua.apps.generation(number) + 1;
    deploy(cycle, vm, number, generation)?;
    if let Some(shared) = lua.apps.generations.get().and_then(|all| all.get(number)) {
        shared.fetch_max(generation, Ordering::AcqRel);
    }
    Ok(())
}

fn deploy(cycle: &'static Cycle, vm: &Rc<Vm>, number: usize, generation: i64) -> Result<(), String> {
    let app = cycle.http.lua.apps.apps.get(number).ok_or("there is no such app")?;
    let before = vm.apps.space(number);
    let mut made = Err("the worker has no settings".to_owned());
    startup::in_worker_phase(cycle, |r| {
        made = vm.apps.create(vm, number, &app.plan, generation, before.as_deref()).and_then(|space| {
            set(r, Some(Rc::clone(&space)));
            if let Err(message) = run_init(app, vm, &space) {
                space.retire();
                return Err(message);
            }
            Ok(space)
        });
    });
    let name = String::from_utf8_lossy(&app.plan.name);
    let made = made?;
    log_at!(cycle.log, Level::Notice, "lua_app \"{name}\" deployed, generation {generation}");
    if let Some(old) = vm.apps.deploy(made) {
        old.retire();
        let label = format!("{name}#{}", old.generation);
        tokio::task::spawn_local(see_off(cycle, Rc::clone(vm), Rc::downgrade(&old), label));
    }
    Ok(())
}

fn run_init_worker(cycle: &'static Cycle, vm: &Rc<Vm>, space: &Rc<Space>) -> Result<(), String> {
    let Some(app) = cycle.http.lua.apps.apps.get(space.app) else { return Ok(()) };
    let mut ran = Ok(());
    startup::in_worker_phase(cycle, |r| {
        set(r, Some(Rc::clone(space)));
        ran = run_init(app, vm, space);
    });
    ran
}

fn run_init(app: &App, vm: &Rc<Vm>, space: &Space) -> Result<(), String> {
    match &app.init_worker {
        Some(script) => Apps::inside(space, || startup::run(vm, script, Some(space))),
        None => Ok(()),
    }
}

/// Waits for the end of a space that was replaced; the log tells when it does not come.
async fn see_off(cycle: &'static Cycle, vm: Rc<Vm>, space: Weak<Space>, label: String) {
    let mut waited = Duration::ZERO;
    while let Some(held) = space.upgrade() {
        if waited == PATIENCE {
            let (timers, holders) = (held.timers.get(), Rc::strong_count(&held) - 1);
            let seconds = PATIENCE.as_secs();
            log_at!(
                cycle.log,
                Level::Warn,
                "lua_app \"{label}\" was replaced {seconds} seconds ago and is still in use: \
                 {timers} timers, {} requests",
                holders.saturating_sub(timers)
            );
        }
        drop(held);
        tokio::time::sleep(INTERVAL).await;
        waited += INTERVAL;
    }
    collect(&vm).await;
    if vm.apps.remains(&vm, &label).is_some() {
        // Machine code may refer to what it was made from.
        let _ = vm.run_layer("=apps", b"jit.flush()");
        collect(&vm).await;
    }
    if let Some(holder) = vm.apps.remains(&vm, &label) {
        log_at!(cycle.log, Level::Warn, "lua_app \"{label}\" was replaced and is not collected: {holder} refers to it");
    } else {
        log_at!(cycle.log, Level::Notice, "lua_app \"{label}\" is collected");
    }
}

/// Collects all garbage of an interpreter, a little in each turn of the event loop.
async fn collect(vm: &Vm) {
    for _ in 0..COLLECTIONS {
        loop {
            if vm.state().is_null() {
                return;
            }
            // SAFETY: the main state of a live interpreter, outside of any call.
            if unsafe { lua_gc(vm.state(), LUA_GCSTEP, 64) } != 0 {
                break;
            }
            next_turn().await;
        }
    }
}

/// Deploys apps anew whose files have changed; what was done, for the terminal, or what failed.
pub(crate) fn follow_files(cycle: &'static Cycle) -> Vec<(String, Result<(), String>)> {
    let lua = &cycle.http.lua;
    let Some(vm) = lua.vm.get().filter(|_| !lua.apps.is_empty()) else { return Vec::new() };
    let is_all = vm.apps.renew_shared(vm);
    let mut done = Vec::new();
    for number in 0..lua.apps.apps.len() {
        let Some(space) = vm.apps.space(number) else { continue };
        if vm.apps.has_changed(vm, &space) || is_all {
            done.push((name_of(cycle, number), reload(cycle, vm, number)));
        }
    }
    done
}
