//! One immutable runtime built from one configuration.

/// Settings of the file's top level and of `events { }`.
#[derive(Default)]
pub struct CycleConf {}
