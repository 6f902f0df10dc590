//! `ngx_devel_kit`: named lists of upstreams (`upstream_list`), and directives as functions.

use std::collections::HashMap;

use bytes::Bytes;
use rsty_diag::Diagnostic;

use super::encrypted_session;
use super::set_misc::{self, Filter};
use crate::conf::{Arity, Contexts, Directive, Rule};
use crate::http::conf::Scope;

/// A directive that computes a value of one input, as a function.
pub(crate) fn filter(name: &[u8]) -> Option<&'static Filter> {
    let mut known = set_misc::FILTERS.iter().chain(encrypted_session::FILTERS);
    known.find(|(known, _)| known.as_bytes() == name).map(|(_, filter)| filter)
}

/// Settings of `http { }`: the lists by name.
#[derive(Default)]
pub struct MainConf {
    lists: HashMap<Box<[u8]>, UpstreamList>,
}

/// Settings of a server.
pub type SrvConf = ();
/// Settings of a location.
pub type LocConf = ();

/// The names of some upstreams.
#[derive(Clone, Debug, Default)]
pub struct UpstreamList(Box<[Bytes]>);

impl MainConf {
    /// A list by name.
    pub fn list(&self, name: &[u8]) -> Option<&UpstreamList> {
        self.lists.get(name)
    }
}

impl UpstreamList {
    /// The upstream to which a key belongs; `None` only if the list is empty.
    pub fn pick(&self, key: &[u8]) -> Option<&Bytes> {
        let hash = key
            .iter()
            .fold(0u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte.to_ascii_lowercase())));
        let count = u32::try_from(self.0.len()).ok().filter(|&count| count > 0)?;
        self.0.get((hash as u32 % count) as usize)
    }
}

/// The directive table.
pub(crate) const RULES: &[Rule] = &[Rule {
    name: "upstream_list",
    contexts: Contexts::HTTP_SERVER_LOCATION,
    args: Arity::Words(2, Arity::MANY),
    apply: upstream_list,
}];

fn upstream_list(scope: &mut Scope<'_>, directive: &Directive) -> Result<(), Diagnostic> {
    let [name, members @ ..] = &directive.args[..] else { return Ok(()) };
    let list = UpstreamList(members.iter().map(|word| Bytes::copy_from_slice(&word.text)).collect());
    if scope.main.ndk.lists.insert(name.text.clone(), list).is_some() {
        let message = format!("duplicate upstream list name \"{}\"", name.lossy());
        return Err(directive.error_at(name, "duplicate_value", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_picks_the_same_member() {
        let list = UpstreamList(["a", "b", "c"].map(|name| Bytes::from_static(name.as_bytes())).into());
        assert_eq!(list.pick(b"Key"), list.pick(b"key"));
        assert_eq!(UpstreamList::default().pick(b"key"), None);
    }
}
