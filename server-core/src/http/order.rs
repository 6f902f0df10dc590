//! Who comes when: the tables in which every module enters its handlers, filters and variables.
//!
//! The order within a phase is nginx's order of modules. Filters run from the first line to the last;
//! a location has only those that it needs.

use super::modules::access::AccessHandler;
use super::modules::access_log::LogHandler;
use super::modules::auth_basic::AuthBasicHandler;
use super::modules::auth_request::AuthRequestHandler;
use super::modules::autoindex::AutoindexHandler;
use super::modules::dav::DavHandler;
use super::modules::form_input::FormHandler;
use super::modules::gzip_static::GzipStaticHandler;
use super::modules::headers_more::InputHandler;
use super::modules::index::IndexHandler;
use super::modules::limit_conn::LimitConnHandler;
use super::modules::limit_req::LimitReqHandler;
use super::modules::lua::handlers::Turn;
use super::modules::mirror::MirrorHandler;
use super::modules::random_index::RandomIndexHandler;
use super::modules::realip::RealipHandler;
use super::modules::rewrite::RewriteHandler;
use super::modules::srcache::FetchHandler;
use super::modules::static_file::StaticHandler;
use super::modules::try_files::TryFilesHandler;
use super::modules::{
    addition, array_var, browser, charset, core, echo, fastcgi, gunzip, gzip, headers, headers_more, http2, limit_conn,
    limit_req, lua, memc, memcached, not_modified, proxy, range, realip, referer, secure_link, slice, srcache, ssi,
    ssl, stub_status, sub, upstream, userid, xss,
};
use super::output::{BodyFilter, HeaderFilter, Need};
use super::phases::{Handler, Phase};
use super::variables::VariableDef;

/// Phase handlers, in the order in which they run within their phase.
pub(crate) static HANDLERS: &[(Phase, &dyn Handler)] = &[
    (Phase::PostRead, &RealipHandler),
    (Phase::ServerRewrite, &lua::handlers::ServerRewrite),
    (Phase::ServerRewrite, &RewriteHandler),
    (Phase::Rewrite, &lua::handlers::Rewrite(Turn::First)),
    (Phase::Rewrite, &FormHandler),
    (Phase::Rewrite, &RewriteHandler),
    (Phase::Rewrite, &InputHandler),
    (Phase::Rewrite, &lua::handlers::Rewrite(Turn::Last)),
    (Phase::Preaccess, &RealipHandler),
    (Phase::Preaccess, &LimitReqHandler),
    (Phase::Preaccess, &LimitConnHandler),
    (Phase::Access, &lua::handlers::Access(Turn::First)),
    (Phase::Access, &AccessHandler),
    (Phase::Access, &AuthBasicHandler),
    (Phase::Access, &AuthRequestHandler),
    (Phase::Access, &lua::handlers::Access(Turn::Last)),
    (Phase::Access, &FetchHandler),
    (Phase::Precontent, &lua::handlers::Precontent(Turn::First)),
    (Phase::Precontent, &TryFilesHandler),
    (Phase::Precontent, &MirrorHandler),
    (Phase::Precontent, &lua::handlers::Precontent(Turn::Last)),
    (Phase::Content, &RandomIndexHandler),
    (Phase::Content, &IndexHandler),
    (Phase::Content, &AutoindexHandler),
    (Phase::Content, &DavHandler),
    (Phase::Content, &GzipStaticHandler),
    (Phase::Content, &StaticHandler),
    (Phase::Log, &lua::handlers::Log),
    (Phase::Log, &LogHandler),
];

/// Header filters. The last one encodes the head.
pub(crate) static HEADER_FILTERS: &[(Need, HeaderFilter)] = &[
    (Need::When(|loc| loc.slice.is_on()), slice::header_filter),
    (Need::Always, not_modified::header_filter),
    (Need::When(|loc| loc.headers_more.changes_output()), headers_more::header_filter),
    (Need::When(|loc| loc.lua.filters_response()), lua::filters::header_filter),
    (Need::When(|loc| loc.srcache.is_on()), srcache::header_filter),
    (Need::When(|loc| loc.xss.is_on()), xss::header_filter),
    (Need::When(|loc| loc.echo.wraps_body()), echo::header_filter),
    (Need::When(|loc| loc.headers.changes_output()), headers::header_filter),
    (Need::When(|loc| loc.userid.sets()), userid::header_filter),
    (Need::When(|loc| loc.gunzip.is_on()), gunzip::header_filter),
    (Need::When(|loc| loc.addition.is_on()), addition::header_filter),
    (Need::When(|loc| loc.sub.is_on()), sub::header_filter),
    (Need::When(|loc| loc.charset.is_on()), charset::header_filter),
    (Need::When(|loc| loc.ssi.is_on()), ssi::header_filter),
    (Need::When(|loc| loc.gzip.is_on()), gzip::header_filter),
    (Need::Always, range::header_filter),
    (Need::Always, super::chunked_filter::header),
    (Need::Always, super::header_filter::filter),
];

/// Body filters of a request or subrequest. The last one puts their output in order.
pub(crate) static BODY_FILTERS: &[(Need, BodyFilter)] = &[
    (Need::When(|loc| loc.slice.is_on()), slice::body_filter),
    (Need::Always, range::body_filter),
    (Need::When(|loc| loc.lua.filters_response()), lua::filters::body_filter),
    (Need::When(|loc| loc.srcache.is_on()), srcache::body_filter),
    (Need::When(|loc| loc.echo.wraps_body()), echo::body_filter),
    (Need::When(|loc| loc.xss.is_on()), xss::body_filter),
    (Need::When(|loc| loc.headers.adds_trailers()), headers::trailers_filter),
    (Need::When(|loc| loc.gunzip.is_on()), gunzip::body_filter),
    (Need::When(|loc| loc.addition.is_on()), addition::body_filter),
    (Need::When(|loc| loc.sub.is_on()), sub::body_filter),
    (Need::When(|loc| loc.charset.is_on()), charset::body_filter),
    (Need::When(|loc| loc.ssi.is_on()), ssi::body_filter),
    (Need::Always, super::postpone_filter::filter),
];

/// Body filters of the response as a whole. The last one writes.
pub(crate) static RESPONSE_FILTERS: &[(Need, BodyFilter)] =
    &[(Need::When(|loc| loc.gzip.is_on()), gzip::body_filter), (Need::Always, super::write_filter::filter)];

/// The variables that modules define before the configuration is read.
pub(crate) static VARIABLES: &[&[VariableDef]] = &[
    array_var::VARIABLES,
    browser::VARIABLES,
    core::VARIABLES,
    echo::VARIABLES,
    fastcgi::VARIABLES,
    gzip::VARIABLES,
    http2::VARIABLES,
    limit_conn::VARIABLES,
    limit_req::VARIABLES,
    memc::VARIABLES,
    memcached::VARIABLES,
    proxy::VARIABLES,
    realip::VARIABLES,
    referer::VARIABLES,
    secure_link::VARIABLES,
    slice::VARIABLES,
    srcache::VARIABLES,
    ssi::VARIABLES,
    ssl::VARIABLES,
    stub_status::VARIABLES,
    upstream::VARIABLES,
    userid::VARIABLES,
];
