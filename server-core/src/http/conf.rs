//! The configuration levels of `http { }`: main, server and location, each a struct with one field a module.
//!
//! A module file `http/modules/NAME.rs` gives:
//!
//! - `MainConf`, `SrvConf`, `LocConf`: plain structs with `Default` (unset values are `None` or empty);
//!   a level without settings uses `()`;
//! - `RULES`: its directive table ([`Rule`]);
//! - `impl Merge` for its server and location structs, which fill unset values from the outer level and from
//!   defaults.
//!
//! [`http_modules!`] lists the modules once; everything else follows from that line. `stream { }` has settings of the
//! same types, with servers that are locations too; what only it knows is in the field `stream`. Configuration is immutable
//! after building. A worker process never changes its configuration (reload starts new workers), so
//! requests hold plain `&'static` references to it.

use rsty_diag::Diagnostic;

use crate::conf::{Block, Contexts, Directive, Rule};
use crate::cycle::CycleConf;

/// Fills what is unset from the outer level.
pub trait Merge {
    /// `self` is the inner level, `outer` the level around it, already merged. A check that fails is an error.
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic>;
}

impl Merge for () {
    fn merge(&mut self, _outer: &Self) -> Result<(), Diagnostic> {
        Ok(())
    }
}

macro_rules! http_modules {
    ($($name:ident),+ $(,)?) => {
        /// Settings of `http { }` as a whole.
        #[derive(Default)]
        pub struct MainConf {
            $(#[doc = concat!("Settings of the module `", stringify!($name), "`.")]
            pub $name: super::modules::$name::MainConf,)+
        }

        /// Settings of one `server { }` (or the outer values at `http` level).
        #[derive(Default)]
        pub struct SrvConf {
            $(#[doc = concat!("Settings of the module `", stringify!($name), "`.")]
            pub $name: super::modules::$name::SrvConf,)+
        }

        /// Settings of one location (or the outer values at `http` and `server` level).
        #[derive(Default)]
        pub struct LocConf {
            $(#[doc = concat!("Settings of the module `", stringify!($name), "`.")]
            pub $name: super::modules::$name::LocConf,)+
        }

        impl Merge for SrvConf {
            fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
                $(self.$name.merge(&outer.$name)?;)+
                Ok(())
            }
        }

        impl Merge for LocConf {
            fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
                $(self.$name.merge(&outer.$name)?;)+
                Ok(())
            }
        }

        /// The directive tables of all modules.
        pub(crate) const TABLES: &[&[Rule]] = &[
            super::modules::fastcgi::CACHE_RULES,
            super::modules::grpc::TLS_RULES,
            super::modules::lua::apps::RULES,
            super::modules::proxy::CACHE_RULES,
            super::modules::proxy::TLS_RULES,
            super::modules::scgi::CACHE_RULES,
            super::modules::stream::TLS_RULES,
            super::modules::uwsgi::CACHE_RULES,
            super::modules::uwsgi::TLS_RULES,
            $(super::modules::$name::RULES),+
        ];
    };
}

http_modules!(
    core,
    access,
    access_log,
    addition,
    array_var,
    auth_basic,
    auth_request,
    autoindex,
    browser,
    charset,
    dav,
    disable_symlinks,
    echo,
    empty_gif,
    encrypted_session,
    fastcgi,
    form_input,
    geo,
    grpc,
    gunzip,
    gzip,
    gzip_static,
    headers,
    headers_more,
    http2,
    index,
    limit_conn,
    limit_req,
    lua,
    map,
    memc,
    memcached,
    mirror,
    ndk,
    proxy,
    random_index,
    realip,
    referer,
    rewrite,
    scgi,
    secure_link,
    set_misc,
    slice,
    split_clients,
    srcache,
    ssi,
    ssl,
    stub_status,
    stream,
    sub,
    try_files,
    upstream,
    userid,
    uwsgi,
    xss,
);

/// The place in the configuration that is being built; what [`Rule::apply`] changes.
///
/// `srv` and `loc` are those of the current level: at `http` level they hold the values that servers and
/// locations inherit.
pub struct Scope<'a> {
    /// Settings of the file's top level and of `events`.
    pub cycle: &'a mut CycleConf,
    /// Settings of `http { }`.
    pub main: &'a mut MainConf,
    /// Server settings of the current level.
    pub srv: &'a mut SrvConf,
    /// Location settings of the current level.
    pub loc: &'a mut LocConf,
    /// The kind of block whose directives are being read: exactly one bit.
    pub context: Contexts,
}

impl Scope<'_> {
    /// Reads the directives of a `server`-like block, which has server and location settings of its own.
    pub fn nested_server(
        &mut self,
        context: Contexts,
        srv: &mut SrvConf,
        loc: &mut LocConf,
        directive: &Directive,
    ) -> Result<(), Diagnostic> {
        Scope { cycle: self.cycle, main: self.main, srv, loc, context }.run(directive)
    }

    /// Reads the directives of a `location`-like block, which has location settings of its own.
    pub fn nested_location(
        &mut self,
        context: Contexts,
        loc: &mut LocConf,
        directive: &Directive,
    ) -> Result<(), Diagnostic> {
        Scope { cycle: self.cycle, main: self.main, srv: self.srv, loc, context }.run(directive)
    }

    /// Reads the directives of a block that has no settings of its own.
    pub fn nested(&mut self, context: Contexts, directive: &Directive) -> Result<(), Diagnostic> {
        Scope { cycle: self.cycle, main: self.main, srv: self.srv, loc: self.loc, context }.run(directive)
    }

    fn run(&mut self, directive: &Directive) -> Result<(), Diagnostic> {
        let Block::Directives(directives) = &directive.block else { return Ok(()) };
        directives.iter().try_for_each(|inner| self.apply(inner))
    }
}

impl Scope<'_> {
    /// Declares a zone of shared memory. The same kind of directive may name one again, as far as it allows that.
    pub fn declare_zone(&mut self, directive: &Directive, kind: &'static str, name: &[u8]) -> Result<(), Diagnostic> {
        let subsystem = self.main.core.subsystem;
        match self.cycle.zones.iter().find(|(known, ..)| **known == *name) {
            None => self.cycle.zones.push((name.into(), kind, subsystem)),
            Some((_, of, within)) if (*of, *within) == (kind, subsystem) => {}
            Some(_) => {
                let name = String::from_utf8_lossy(name);
                let message = format!("the shared memory zone \"{name}\" is already declared for a different use");
                return Err(directive.error("duplicate_zone", message));
            }
        }
        Ok(())
    }

    /// Checks one directive against the tables and applies it.
    pub fn apply(&mut self, directive: &Directive) -> Result<(), Diagnostic> {
        let rule = crate::conf::table::rule_for(directive, self.context)?;
        (rule.apply)(self, directive)
    }
}
