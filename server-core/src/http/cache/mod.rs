//! Responses of servers behind us, kept in files: `proxy_cache` and its kin.
//!
//! A [`zone`] is a folder with an index that all workers share: how often a key was asked for, when it was asked last,
//! and who is fetching it right now. The files tell everything else by themselves ([`entry`]), so that a cache
//! survives a restart without being read first. [`lookup`] decides how a request uses the cache, [`freshness`] how long
//! a response may be kept, [`store`] writes one while it passes by, and [`manager`] removes what nobody asks for or
//! what is too much. [`conf`] holds the settings.

pub(crate) mod conf;
pub(crate) mod entry;
pub(crate) mod freshness;
pub(crate) mod lookup;
pub(crate) mod manager;
pub(crate) mod store;
pub(crate) mod zone;

pub(crate) use conf::CacheConf;
pub(crate) use lookup::{CacheUse, Status, Told};
