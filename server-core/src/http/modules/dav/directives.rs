//! The directives.

use rsty_diag::Diagnostic;

use crate::conf::value::{self, duplicate, set_bits, set_flag, set_number};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::conf::{Merge, Scope};
use crate::http::method::Method;

/// Settings of `http { }`.
pub type MainConf = ();
/// Settings of a server.
pub type SrvConf = ();

/// Settings of a location.
#[derive(Default)]
pub struct LocConf {
    methods: Option<u32>,
    pub(super) create_full_put_path: Option<bool>,
    pub(super) min_delete_depth: Option<usize>,
    access: Option<u32>,
}

impl LocConf {
    /// The methods that are allowed, as bits of [`Method`].
    pub(super) fn methods(&self) -> u32 {
        self.methods.unwrap_or(0)
    }

    /// The mode of new files.
    pub(super) fn file_mode(&self) -> u32 {
        self.access.unwrap_or(0o600)
    }

    /// The mode of new folders: who may read a file may enter its folder.
    pub(super) fn folder_mode(&self) -> u32 {
        let mode = self.file_mode();
        mode | (mode & 0o444) >> 2
    }
}

impl Merge for LocConf {
    fn merge(&mut self, outer: &Self) -> Result<(), Diagnostic> {
        self.methods = self.methods.or(outer.methods);
        self.create_full_put_path = self.create_full_put_path.or(outer.create_full_put_path);
        self.min_delete_depth = self.min_delete_depth.or(outer.min_delete_depth);
        self.access = self.access.or(outer.access);
        Ok(())
    }
}

const USUAL: Contexts = Contexts::HTTP_SERVER_LOCATION;

/// The directive table.
pub(crate) const RULES: &[Rule] = &[
    Rule { name: "dav_methods", contexts: USUAL, args: Arity::Words(1, Arity::MANY), apply: methods },
    Rule {
        name: "create_full_put_path",
        contexts: USUAL,
        args: Arity::Flag,
        apply: |scope, directive| set_flag(&mut scope.loc.dav.create_full_put_path, directive),
    },
    Rule {
        name: "min_delete_depth",
        contexts: USUAL,
        args: Arity::Words(1, 1),
        apply: |scope, directive| set_number(&mut scope.loc.dav.min_delete_depth, directive),
    },
    Rule { name: "dav_access", contexts: USUAL, args: Arity::Words(1, 3), apply: access },
];

fn methods(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let words = [
        ("off", 0),
        ("put", Method::PUT.0),
        ("delete", Method::DELETE.0),
        ("mkcol", Method::MKCOL.0),
        ("copy", Method::COPY.0),
        ("move", Method::MOVE.0),
    ];
    set_bits(&mut scope.loc.dav.methods, directive, &words).map(drop)
}

fn access(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.loc.dav.access.is_some() {
        return Err(duplicate(directive));
    }
    scope.loc.dav.access = Some(value::access(directive)?);
    Ok(())
}
