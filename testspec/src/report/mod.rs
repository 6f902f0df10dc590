//! Reports: what a run says to people, to CI systems and to its own next run.
//!
//! Everything here makes text; printing it is the binary's business. Text for people carries ANSI styles, which the
//! printing side removes where the terminal takes none.

pub mod against;
pub mod baseline;
pub mod coverage;
pub mod github;
pub mod html;
pub mod human;
pub mod json;
pub mod json_read;
pub mod junit;
pub mod merge;
pub mod records;
pub mod stress;
mod summary;
pub mod tap;
mod visible;

pub use summary::Summary;
pub use visible::visible;
