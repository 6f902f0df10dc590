//! The loaded spec file as the runner's [`Spec`].

use std::sync::Arc;

use crate::load::load;
use crate::run::lane::Loader;
use crate::run::perl_side::Spec;

/// Loads spec files with this crate's own evaluator.
pub fn loader() -> Loader {
    Arc::new(|source, environment| {
        let _spec = load(source, environment)?;
        Err::<Box<dyn Spec>, _>(Vec::new())
    })
}
