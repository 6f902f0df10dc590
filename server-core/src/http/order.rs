//! Who comes when: the tables in which every module enters its handlers, filters and variables.
//!
//! The order within a phase is nginx's order of modules. Filters run from the first line to the last.

use super::modules::lua;
use super::output::{BodyFilter, HeaderFilter};
use super::phases::{Handler, Phase};
use super::variables::VariableDef;

/// Phase handlers, in the order in which they run within their phase.
pub(crate) static HANDLERS: &[(Phase, &dyn Handler)] = &[
    (Phase::ServerRewrite, &lua::handlers::ServerRewrite),
    (Phase::Rewrite, &lua::handlers::Rewrite),
    (Phase::Access, &lua::handlers::Access),
    (Phase::Precontent, &lua::handlers::Precontent),
    (Phase::Log, &lua::handlers::Log),
];

/// Header filters. The last one encodes the head.
pub(crate) static HEADER_FILTERS: &[HeaderFilter] =
    &[lua::filters::header_filter, super::chunked_filter::header, super::header_filter::filter];

/// Body filters. The last one writes.
pub(crate) static BODY_FILTERS: &[BodyFilter] = &[
    lua::filters::body_filter,
    super::postpone_filter::filter,
    super::chunked_filter::filter,
    super::write_filter::filter,
];

/// The variables that modules define before the configuration is read.
pub(crate) static VARIABLES: &[&[VariableDef]] = &[super::modules::core::VARIABLES];
