//! The directives that `stream { }` has in common with `http { }`: the same code, in other blocks.

use crate::conf::{Contexts, Rule};

const S: Contexts = Contexts::STREAM;
const SERVER: Contexts = Contexts::STREAM_SERVER;
const BOTH: Contexts = S.or(SERVER);
const UPSTREAM: Contexts = Contexts::STREAM_UPSTREAM;

/// Where the directives stand in `http { }`.
const HTTP: Contexts = Contexts::HTTP_SERVER_LOCATION_IF;

/// Names, where they may stand in `stream { }`, and which of the rows of that name is meant.
const SHARED: &[(&[&str], Contexts, Contexts)] = &[
    (
        &[
            "lua_load_resty_core",
            "lua_thread_cache_max_entries",
            "lua_max_running_timers",
            "lua_max_pending_timers",
            "lua_shared_dict",
            "lua_capture_error_log",
            "lua_sa_restart",
            "lua_regex_cache_max_entries",
            "lua_regex_match_limit",
            "lua_package_cpath",
            "lua_package_path",
            "lua_malloc_trim",
            "init_by_lua",
            "init_by_lua_block",
            "init_by_lua_file",
            "init_worker_by_lua",
            "init_worker_by_lua_block",
            "init_worker_by_lua_file",
            "exit_worker_by_lua_block",
            "exit_worker_by_lua_file",
            "log_format",
            "map",
            "map_hash_max_size",
            "map_hash_bucket_size",
            "geo",
            "split_clients",
            "upstream",
            "server_names_hash_max_size",
            "server_names_hash_bucket_size",
            "variables_hash_max_size",
            "variables_hash_bucket_size",
            "limit_conn_zone",
        ],
        S,
        HTTP,
    ),
    (
        &[
            "lua_code_cache",
            "lua_check_client_abort",
            "lua_socket_log_errors",
            "lua_socket_keepalive_timeout",
            "lua_socket_connect_timeout",
            "lua_socket_send_timeout",
            "lua_socket_read_timeout",
            "lua_socket_send_lowat",
            "lua_socket_buffer_size",
            "lua_socket_pool_size",
            "lua_ssl_protocols",
            "lua_ssl_ciphers",
            "lua_ssl_verify_depth",
            "lua_ssl_certificate",
            "lua_ssl_certificate_key",
            "lua_ssl_trusted_certificate",
            "lua_ssl_crl",
            "lua_ssl_key_log",
            "lua_ssl_conf_command",
            "log_by_lua_block",
            "log_by_lua_file",
            "ssl_client_hello_by_lua_block",
            "ssl_client_hello_by_lua_file",
            "ssl_certificate_by_lua_block",
            "ssl_certificate_by_lua_file",
            "resolver",
            "resolver_timeout",
            "tcp_nodelay",
            "error_log",
            "access_log",
            "open_log_file_cache",
            "set_real_ip_from",
            "allow",
            "deny",
            "limit_conn",
            "limit_conn_log_level",
            "limit_conn_dry_run",
            "ssl_certificate",
            "ssl_certificate_key",
            "ssl_password_file",
            "ssl_dhparam",
            "ssl_ecdh_curve",
            "ssl_protocols",
            "ssl_ciphers",
            "ssl_verify_client",
            "ssl_verify_depth",
            "ssl_client_certificate",
            "ssl_trusted_certificate",
            "ssl_prefer_server_ciphers",
            "ssl_session_cache",
            "ssl_session_tickets",
            "ssl_session_ticket_key",
            "ssl_session_timeout",
            "ssl_crl",
            "ssl_conf_command",
            "ssl_reject_handshake",
            "ssl_key_log",
            "ssl_alpn",
            "ssl_certificate_cache",
            "ssl_ocsp",
            "ssl_ocsp_cache",
            "ssl_ocsp_responder",
            "ssl_stapling",
            "ssl_stapling_file",
            "ssl_stapling_responder",
            "ssl_stapling_verify",
        ],
        BOTH,
        HTTP,
    ),
    (
        &[
            "server_name",
            "content_by_lua",
            "content_by_lua_block",
            "content_by_lua_file",
            "proxy_ssl_certificate_by_lua_block",
            "proxy_ssl_certificate_by_lua_file",
            "proxy_ssl_verify_by_lua_block",
            "proxy_ssl_verify_by_lua_file",
            "lua_upstream_skip_openssl_default_verify",
        ],
        SERVER,
        HTTP,
    ),
    (
        &[
            "server",
            "balancer_by_lua_block",
            "balancer_by_lua_file",
            "zone",
            "least_conn",
            "least_time",
            "hash",
            "random",
            "resolver",
            "resolver_timeout",
        ],
        UPSTREAM,
        Contexts::UPSTREAM,
    ),
];

/// The rows, made from those of `http { }`. A name that `http { }` does not know has none.
pub(crate) fn shared(rules: &[&'static Rule]) -> Vec<Rule> {
    let mut shared = Vec::new();
    for (names, contexts, from) in SHARED {
        for name in *names {
            let meant = rules.iter().find(|rule| rule.name == *name && rule.contexts.intersects(*from));
            shared.extend(meant.map(|rule| Rule { contexts: *contexts, ..**rule }));
        }
    }
    shared
}
