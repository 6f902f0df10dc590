//! What the servers are configured to do: the same text for both.

use std::fs;
use std::path::{Path, PathBuf};

use super::Need;
use super::server::free_port;
use crate::Failure;

/// What stands beside the servers; `None` for what is missing.
pub(super) struct Neighbours {
    pub(super) redis: Option<u16>,
    pub(super) backend: Option<u16>,
    pub(super) certificate: Option<Certificate>,
    /// The folder of the `cjson.so` that nginx loads. Ours has one built in.
    pub(super) cjson: Option<PathBuf>,
}

impl Neighbours {
    /// What a case misses.
    pub(super) fn missing(&self, need: Need) -> Option<&'static str> {
        let (is_there, what) = match need {
            Need::Redis => (self.redis.is_some(), "redis-server"),
            Need::Backend => (self.backend.is_some(), "nginx behind"),
            Need::Certificate => (self.certificate.is_some(), "openssl"),
            Need::Cjson => (self.cjson.is_some(), "cjson.so for nginx"),
        };
        (!is_there).then_some(what)
    }
}

/// A certificate and its key.
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
}

impl Ports {
    pub(super) fn free() -> Result<Self, Failure> {
        Ok(Self { plain: free_port()?, tls: free_port()? })
    }
}

/// Writes the folder with its configuration; the answer is the prefix.
pub(super) fn configuration(
    prefix: &Path,
    load_modules: &str,
    ports: Ports,
    neighbours: &Neighbours,
) -> Result<String, Failure> {
    fs::create_dir_all(prefix.join("html"))?;
    fs::create_dir_all(prefix.join("logs"))?;
    fs::write(prefix.join("html/static.bin"), vec![b'x'; 10_000])?;
    fs::write(prefix.join("html/text.txt"), text(10_000))?;
    // The discard port stands for what is not there; its cases are left out.
    let (redis, backend) = (neighbours.redis.unwrap_or(9), neighbours.backend.unwrap_or(9));
    let Ports { plain, tls } = ports;
    let tls = neighbours.certificate.as_ref().map_or_else(String::new, |Certificate { chain, key }| {
        let (chain, key) = (chain.display(), key.display());
        format!("listen 127.0.0.1:{tls} ssl;\n        ssl_certificate {chain};\n        ssl_certificate_key {key};")
    });
    let cjson = neighbours.cjson.as_ref().map_or_else(String::new, |folder| {
        let folder = folder.display();
        format!("lua_package_cpath \"{folder}/?.so;;\";")
    });
    let prefix = format!("{}/", prefix.display());
    let text = format!(
        r#"{load_modules}daemon off;
master_process off;
error_log error.log warn;
pid bench.pid;
events {{ worker_connections 11000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    {cjson}
    lua_shared_dict bench 10m;
    proxy_cache_path {prefix}cache keys_zone=kept:1m;
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{plain};
        {tls}
        root html;
        # Old versions of nginx offer less by themselves.
        ssl_protocols TLSv1.2 TLSv1.3;
        location = /hello {{ content_by_lua_block {{ ngx.say("hello") }} }}
        location = /plain {{ return 200 "hello\n"; }}
        location = /logged {{
            access_log logs/access.log combined buffer=64k;
            return 200 "hello\n";
        }}
        location = /text.txt {{
            gzip on;
            gzip_types text/plain;
        }}
        location = /capture {{
            content_by_lua_block {{
                local response = ngx.location.capture("/plain")
                ngx.print(response.body)
            }}
        }}
        location = /mix {{
            content_by_lua_block {{
                local headers = ngx.req.get_headers()
                local found = ngx.re.match(ngx.var.uri, "^/(m)(i)x", "jo")
                ngx.header["X-One"] = ngx.var.request_method
                ngx.header["X-Two"] = found[1]
                ngx.header["X-Three"] = headers["host"]
                ngx.say("hello")
            }}
        }}
        location = /regex {{
            content_by_lua_block {{
                local text = "/users/4711/orders/20261123?page=3&sort=desc"
                local sum = 0
                for i = 1, 100 do
                    local found = ngx.re.match(text, "^/users/([0-9]+)/orders/([0-9]+)", "jo")
                    sum = sum + #found[2]
                    local from = ngx.re.find(text, "sort=([a-z]+)", "jo")
                    sum = sum + from
                    local changed = ngx.re.gsub(text, "[0-9]+", "n", "jo")
                    sum = sum + #changed
                end
                ngx.say(sum)
            }}
        }}
        location = /cjson {{
            content_by_lua_block {{
                local cjson = require "cjson"
                local text = '{{"id":4711,"name":"a name","tags":["one","two","three"],"price":12.5,'
                    .. '"nested":{{"yes":true,"no":false,"none":null,"text":"with \\"quotes\\" and \\u00fc"}}}}'
                local size = 0
                for i = 1, 100 do
                    size = size + #cjson.encode(cjson.decode(text))
                end
                ngx.say(size)
            }}
        }}
        location = /dict {{
            content_by_lua_block {{
                local dict = ngx.shared.bench
                for i = 1, 100 do
                    dict:set("key", i)
                    dict:get("key")
                    dict:incr("count", 1, 0)
                end
                ngx.say("done")
            }}
        }}
        location = /redis {{
            content_by_lua_block {{
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", {redis}))
                assert(sock:send("*1\r\n$4\r\nPING\r\n"))
                local line = assert(sock:receive())
                assert(sock:setkeepalive(10000, 100))
                ngx.say(line)
            }}
        }}
        location /proxy/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /cached/ {{
            proxy_pass http://backend/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache kept;
            proxy_cache_valid 1h;
        }}
        location = /sleep {{
            content_by_lua_block {{
                local function doze() ngx.sleep(600) end
                for _ = 1, tonumber(ngx.var.arg_threads) do
                    ngx.thread.spawn(doze)
                end
                ngx.say("asleep")
                ngx.flush(true)
            }}
        }}
    }}
}}
"#
    );
    fs::write(Path::new(&prefix).join("nginx.conf"), text)?;
    Ok(prefix)
}

/// Lines that compress as prose does, and not into nothing.
fn text(size: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let words = ["server", "request", "a", "the", "answers", "waits", "for", "until", "every", "connection"];
    let mut text = String::new();
    while text.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = words[(state >> 16) as usize % words.len()];
        text.push_str(&format!("{word}{} ", state >> 24 & 15));
    }
    text.truncate(size);
    text.into_bytes()
}
