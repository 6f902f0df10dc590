//! What the server says about itself (`-v`, `-V`).

use crate::cycle::{Identity, NGINX_VERSION};

/// Features by the names of nginx's configure options, which test suites look for.
const FEATURES: &[&str] = &[
    "--prefix=/usr/local/nginx",
    "--with-debug",
    "--with-pcre-jit",
    "--with-threads",
    "--with-http_ssl_module",
    "--with-http_v2_module",
    "--with-http_realip_module",
    "--with-http_addition_module",
    "--with-http_sub_module",
    "--with-http_gunzip_module",
    "--with-http_auth_request_module",
    "--with-http_secure_link_module",
    "--with-http_stub_status_module",
    "--with-http_dav_module",
    "--with-http_gzip_static_module",
    "--with-http_random_index_module",
    "--with-http_slice_module",
    "--with-stream",
    "--with-stream_ssl_module",
    "--add-module=ngx_devel_kit",
    "--add-module=echo-nginx-module",
    "--add-module=headers-more-nginx-module",
    "--add-module=set-misc-nginx-module",
    "--add-module=lua-nginx-module",
];

/// The folder of the configuration and logs when `-p` is not given, as nginx has it.
pub const DEFAULT_PREFIX: &str = "/usr/local/nginx/";

/// What `--V` shows and `ngx.config.nginx_configure()` returns.
pub fn configure_arguments() -> String {
    FEATURES.join(" ")
}

/// One line: product and version.
pub fn short(identity: Identity) -> String {
    match identity {
        Identity::Nginx => format!("nginx version: nginx/{NGINX_VERSION}\n"),
        Identity::Rsty => {
            let own = identity.product_and_version();
            format!("rsty version: {own}\nnginx version: nginx/{NGINX_VERSION} (compatible)\n")
        }
    }
}

/// All lines of `-V`.
pub fn long(identity: Identity) -> String {
    let mut text = short(identity);
    text.push_str(&format!("built with {}\n", openssl::version::version()));
    text.push_str("TLS SNI support enabled\n");
    text.push_str(&format!("configure arguments: {}\n", configure_arguments()));
    if identity == Identity::Nginx {
        text.push_str(&format!("provided by {}\n", Identity::Rsty.product_and_version()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_is_nginx_under_its_name() {
        assert!(long(Identity::Nginx).starts_with("nginx version: nginx/1.31.2\nbuilt with OpenSSL "));
        assert!(long(Identity::Nginx).contains("\nconfigure arguments: --"));
    }
}
