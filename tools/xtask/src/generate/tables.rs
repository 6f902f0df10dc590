//! The libraries of the server and the names in them.
//!
//! A configuration whose `init_by_lua` walks all tables is given to the server, and its answer is the file.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::SUBSYSTEMS;
use crate::Failure;

/// Lets a server list its tables: subsystem, path, whether there is a metatable, names.
pub(super) fn ask(server: &Path) -> Result<String, Failure> {
    let mut rows = String::new();
    for subsystem in SUBSYSTEMS {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("logs"))?;
        let configuration = CONFIGURATION.replace("SUBSYSTEM", subsystem);
        fs::write(folder.path().join("nginx.conf"), configuration)?;
        let output = Command::new(server).arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("\tngx\t") {
            return Err(Failure::Tool(format!(
                "the server did not answer: {}",
                String::from_utf8_lossy(&output.stderr)
            )));
        }
        rows.push_str(&text);
    }
    Ok(rows)
}

const CONFIGURATION: &str = r#"
daemon off;
master_process off;
error_log stderr warn;
events {}
SUBSYSTEM {
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
            local row = { "SUBSYSTEM", path, kind, table.concat(names, " ") }
            table.insert(rows, table.concat(row, "\t") .. "\n")
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
