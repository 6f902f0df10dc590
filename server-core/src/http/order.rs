//! Who comes when: the tables in which every module enters its handlers, filters and variables.
//!
//! The order within a phase is nginx's order of modules. Filters run from the first line to the last.

use super::modules::access::AccessHandler;
use super::modules::access_log::LogHandler;
use super::modules::auth_basic::AuthBasicHandler;
use super::modules::auth_request::AuthRequestHandler;
use super::modules::autoindex::AutoindexHandler;
use super::modules::headers_more::InputHandler;
use super::modules::index::IndexHandler;
use super::modules::lua::handlers::Turn;
use super::modules::mirror::MirrorHandler;
use super::modules::realip::RealipHandler;
use super::modules::rewrite::RewriteHandler;
use super::modules::static_file::StaticHandler;
use super::modules::try_files::TryFilesHandler;
use super::modules::{
    addition, charset, core, echo, fastcgi, gunzip, gzip, headers, headers_more, lua, memc, memcached, not_modified,
    proxy, range, realip, referer, secure_link, ssl, sub, upstream,
};
use super::output::{BodyFilter, HeaderFilter};
use super::phases::{Handler, Phase};
use super::variables::VariableDef;

/// Phase handlers, in the order in which they run within their phase.
pub(crate) static HANDLERS: &[(Phase, &dyn Handler)] = &[
    (Phase::PostRead, &RealipHandler),
    (Phase::ServerRewrite, &lua::handlers::ServerRewrite),
    (Phase::ServerRewrite, &RewriteHandler),
    (Phase::Rewrite, &lua::handlers::Rewrite(Turn::First)),
    (Phase::Rewrite, &RewriteHandler),
    (Phase::Rewrite, &InputHandler),
    (Phase::Rewrite, &lua::handlers::Rewrite(Turn::Last)),
    (Phase::Preaccess, &RealipHandler),
    (Phase::Access, &lua::handlers::Access(Turn::First)),
    (Phase::Access, &AccessHandler),
    (Phase::Access, &AuthBasicHandler),
    (Phase::Access, &AuthRequestHandler),
    (Phase::Access, &lua::handlers::Access(Turn::Last)),
    (Phase::Precontent, &lua::handlers::Precontent(Turn::First)),
    (Phase::Precontent, &TryFilesHandler),
    (Phase::Precontent, &MirrorHandler),
    (Phase::Precontent, &lua::handlers::Precontent(Turn::Last)),
    (Phase::Content, &IndexHandler),
    (Phase::Content, &AutoindexHandler),
    (Phase::Content, &StaticHandler),
    (Phase::Log, &lua::handlers::Log),
    (Phase::Log, &LogHandler),
];

/// Header filters. The last one encodes the head.
pub(crate) static HEADER_FILTERS: &[HeaderFilter] = &[
    not_modified::header_filter,
    headers_more::header_filter,
    lua::filters::header_filter,
    echo::header_filter,
    headers::header_filter,
    gunzip::header_filter,
    addition::header_filter,
    sub::header_filter,
    charset::header_filter,
    gzip::header_filter,
    range::header_filter,
    super::chunked_filter::header,
    super::header_filter::filter,
];

/// Body filters. The last one writes.
pub(crate) static BODY_FILTERS: &[BodyFilter] = &[
    range::body_filter,
    lua::filters::body_filter,
    echo::body_filter,
    headers::trailers_filter,
    gunzip::body_filter,
    addition::body_filter,
    sub::body_filter,
    super::postpone_filter::filter,
    gzip::body_filter,
    super::chunked_filter::filter,
    super::write_filter::filter,
];

/// The variables that modules define before the configuration is read.
pub(crate) static VARIABLES: &[&[VariableDef]] = &[
    core::VARIABLES,
    echo::VARIABLES,
    fastcgi::VARIABLES,
    gzip::VARIABLES,
    memc::VARIABLES,
    memcached::VARIABLES,
    proxy::VARIABLES,
    realip::VARIABLES,
    referer::VARIABLES,
    secure_link::VARIABLES,
    ssl::VARIABLES,
    upstream::VARIABLES,
];
