//! `gen`: files that are made from what the server itself says.
//!
//! The linter's list of libraries and their fields is what a running server has: a configuration whose `init_by_lua`
//! walks all tables is given to the binary that was built, and its answer is the file.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Failure, Outcome};

/// The generated file.
const API: &str = "tools/lint/src/standard/api.tsv";

/// Binaries to ask, the first that exists.
const SERVERS: [&str; 2] = ["target/release/rsty", "target/debug/rsty"];

/// Writes the generated files, or with `check` only compares them.
pub(crate) fn write(check: bool) -> Outcome {
    let Some(server) = SERVERS.into_iter().find(|path| Path::new(path).exists()) else {
        return Err(Failure::Tool("there is no binary to ask; run `cargo build` first".to_owned()));
    };
    let api = ask(Path::new(server))?;
    if !check {
        fs::write(API, api)?;
        println!("gen: {API}");
        return Ok(());
    }
    if fs::read_to_string(API)? == api {
        println!("gen: {API} is what the server has");
        return Ok(());
    }
    Err(Failure::Findings(format!("{API} is not what the server has; run `cargo xtask gen`")))
}

/// Lets a server list its tables: path, whether there is a metatable, names.
fn ask(server: &Path) -> Result<String, Failure> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("logs"))?;
    fs::write(folder.path().join("nginx.conf"), CONFIGURATION)?;
    let server = fs::canonicalize(server)?;
    let output = Command::new(server).arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("\nngx\t") {
        Ok(text)
    } else {
        Err(Failure::Tool(format!("the server did not answer: {}", String::from_utf8_lossy(&output.stderr))))
    }
}

const CONFIGURATION: &str = r#"
daemon off;
master_process off;
error_log stderr warn;
events {}
http {
    init_by_lua_block {
        local seen, rows = {}, {}
        local function walk(path, object, depth)
            if seen[object] then
                return
            end
            seen[object] = true
            local names = {}
            for key in pairs(object) do
                if type(key) == "string" and key:find("^[%a_][%w_]*$") then
                    table.insert(names, key)
                end
            end
            table.sort(names)
            local kind = getmetatable(object) and "m" or "-"
            table.insert(rows, path .. "\t" .. kind .. "\t" .. table.concat(names, " ") .. "\n")
            for _, key in ipairs(names) do
                local inner = object[key]
                local inside = path == "" and key or path .. "." .. key
                if type(inner) == "table" and depth < 3 and key ~= "_G" and path ~= "package" then
                    walk(inside, inner, depth + 1)
                end
            end
        end
        walk("", _G, 0)
        io.stdout:write(table.concat(rows))
        io.stdout:flush()
        os.exit(0)
    }
}
"#;
