//! Configurations that nobody has to write: a folder, a Lua file.

use std::net::TcpListener;
use std::path::Path;

use rsty_diag::Source;
use rsty_server_core::cycle::ListenAddress;
use rsty_server_core::process::ConfSource;

/// The first port that is tried, and how many after it.
const PORT: u16 = 8080;
const PORTS: u16 = 20;

/// What lies in a project's folder and is not meant for others: dot files, rsty.toml, configurations, keys.
const PRIVATE: &str = r"/\.|/rsty\.toml$|\.(?:conf|key|pem|p12|pfx)$";

/// Serves the files of a folder. Names with a leading dot, configurations and keys are not there.
pub(super) fn folder(folder: &Path, listen: Option<&str>) -> Result<ConfSource, String> {
    let root = quoted(folder)?;
    let server = format!(
        "root {root};
        charset utf-8;
        location ~* \"{PRIVATE}\" {{ return 404; }}
        location / {{ index index.html; autoindex on; }}"
    );
    conf(&server, "", listen)
}

/// Serves a Lua file whose chunk answers every request. Modules are found beside it.
pub(super) fn lua_file(file: &Path, listen: Option<&str>) -> Result<ConfSource, String> {
    let path = quoted(file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let text = printable(folder)?;
    let http = format!("lua_package_path \"{text}/?.lua;{text}/?/init.lua;;\";");
    let server = format!("location / {{ default_type text/plain; content_by_lua_file {path}; }}");
    conf(&server, &http, listen)
}

/// The address as a browser takes it.
pub(super) fn url(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Inet(address) if address.ip().is_unspecified() => {
            format!("http://127.0.0.1:{}/", address.port())
        }
        ListenAddress::Inet(address) => format!("http://{address}/"),
        ListenAddress::Unix(_) => address.to_string(),
    }
}

fn conf(server: &str, http: &str, listen: Option<&str>) -> Result<ConfSource, String> {
    let address = match listen {
        Some(address) if address.bytes().all(|byte| byte.is_ascii_digit()) => format!("127.0.0.1:{address}"),
        Some(address) if !address.contains([';', '{', '}', '"', '\'', ' ', '\\', '#', '\n']) => address.into(),
        Some(address) => return Err(format!("\"{address}\" is not an address")),
        None => format!("127.0.0.1:{}", free_port()?),
    };
    let text = format!(
        "daemon off;
master_process off;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    {TYPES}
    default_type application/octet-stream;
    access_log off;
    {http}
    server {{
        listen {address};
        {server}
    }}
}}
"
    );
    Ok(ConfSource::Text(Source::new("rsty serve", text)))
}

fn free_port() -> Result<u16, String> {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let found = (PORT..PORT + PORTS).find(free);
    found.ok_or_else(|| format!("the ports {PORT} to {} are all in use; choose one with -l", PORT + PORTS - 1))
}

/// A path as a word of the configuration.
fn quoted(path: &Path) -> Result<String, String> {
    Ok(format!("\"{}\"", printable(path)?))
}

fn printable(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\\', '$', '\n', ';', '?']) => Ok(text.trim_end_matches('/').into()),
        _ => Err(format!("{}: paths with \", \\, $, ;, ? or line ends can't be served", path.display())),
    }
}

const TYPES: &str = "types {
        text/html html htm;
        text/css css;
        text/plain txt md lua t conf log;
        text/xml xml;
        application/javascript js mjs;
        application/json json map;
        application/wasm wasm;
        application/pdf pdf;
        image/png png;
        image/jpeg jpg jpeg;
        image/gif gif;
        image/webp webp;
        image/avif avif;
        image/svg+xml svg;
        image/x-icon ico;
        font/woff woff;
        font/woff2 woff2;
        video/mp4 mp4;
        video/webm webm;
        audio/mpeg mp3;
    }";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: ConfSource) -> String {
        match source {
            ConfSource::Text(source) => String::from_utf8_lossy(source.bytes()).into_owned(),
            ConfSource::File(path) => panic!("a file: {}", path.display()),
        }
    }

    #[test]
    fn a_folder_is_served_on_loopback_without_hidden_files() {
        let conf = text(folder(Path::new("/srv/"), Some("9000")).unwrap());
        assert!(conf.contains("listen 127.0.0.1:9000;"), "{conf}");
        assert!(conf.contains("root \"/srv\";") && conf.contains("return 404"), "{conf}");
    }

    #[test]
    fn paths_and_addresses_can_not_break_out_of_the_configuration() {
        assert!(folder(Path::new("/a\";evil"), None).is_err());
        assert!(folder(Path::new("/a"), Some("80; evil")).is_err());
    }

    #[test]
    fn urls_can_be_opened() {
        assert_eq!(url(&ListenAddress::Inet(([0, 0, 0, 0], 80).into())), "http://127.0.0.1:80/");
        assert_eq!(url(&ListenAddress::Unix("/x".into())), "unix:/x");
    }
}
