//! `upstream`: the test suites of the upstream modules, out of Debian's source packages.
//!
//! The machine's own package configuration says where binary packages come from; the source packages stand beside
//! them. A private copy of that configuration asks for sources, so the machine's own is never changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, Outcome};

/// Suite name and the source package that holds it.
const SUITES: &[(&str, &str)] = &[
    ("lua-nginx-module", "libnginx-mod-http-lua"),
    ("echo-nginx-module", "libnginx-mod-http-echo"),
    ("headers-more-nginx-module", "libnginx-mod-http-headers-more-filter"),
    ("set-misc-nginx-module", "libnginx-mod-http-set-misc"),
];

/// Brings every suite into `folder/NAME`; suites that are there already are kept.
pub(crate) fn bring(folder: &Path) -> Outcome {
    fs::create_dir_all(folder)?;
    let wanted: Vec<_> = SUITES.iter().filter(|(name, _)| !folder.join(name).join("t").is_dir()).collect();
    if wanted.is_empty() {
        println!("upstream: all suites are in {}", folder.display());
        return Ok(());
    }
    let apt = Apt::prepare()?;
    for (name, package) in wanted {
        let target = folder.join(name);
        apt.unpack(package, &target)?;
        let specs = walkdir::WalkDir::new(target.join("t"))
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "t"));
        println!("upstream: {name}: {} spec files", specs.count());
    }
    Ok(())
}

/// A private package configuration in a temporary folder.
struct Apt {
    folder: tempfile::TempDir,
}

impl Apt {
    fn prepare() -> Result<Self, Failure> {
        let apt = Self { folder: tempfile::tempdir()? };
        let sources = source_entries()?;
        if sources.is_empty() {
            return Err(Failure::Tool("no Debian package sources are configured on this machine".to_owned()));
        }
        fs::create_dir_all(apt.folder.path().join("lists/partial"))?;
        fs::create_dir_all(apt.folder.path().join("parts"))?;
        fs::write(apt.folder.path().join("parts/source.sources"), sources)?;
        apt.run(&["update"], apt.folder.path())?;
        Ok(apt)
    }

    /// Downloads a source package and unpacks its upstream part into `target`.
    fn unpack(&self, package: &str, target: &Path) -> Outcome {
        let download = self.folder.path().join(package);
        fs::create_dir_all(&download)?;
        self.run(&["source", "--download-only", package], &download)?;
        let archive = fs::read_dir(&download)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".orig.tar.")))
            .ok_or_else(|| Failure::Tool(format!("the source package {package} has no upstream archive")))?;
        // Unpack beside the target and move it at the end, so that a broken run leaves nothing half-written.
        let unpacked = target.with_extension("partial");
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        fs::create_dir_all(&unpacked)?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--strip-components=1").arg("--file").arg(&archive).arg("--directory").arg(&unpacked);
        finish(&mut tar)?;
        if target.exists() {
            fs::remove_dir_all(target)?;
        }
        fs::rename(&unpacked, target)?;
        Ok(())
    }

    fn run(&self, arguments: &[&str], folder: &Path) -> Outcome {
        let base = self.folder.path();
        let option = |name: &str, value: PathBuf| format!("{name}={}", value.display());
        let mut command = Command::new("apt-get");
        command.current_dir(folder).arg("--quiet=2");
        for setting in [
            option("Dir::Etc::sourcelist", "/dev/null".into()),
            option("Dir::Etc::sourceparts", base.join("parts")),
            option("Dir::State::lists", base.join("lists")),
            option("Dir::Cache::srcpkgcache", base.join("srcpkgcache.bin")),
            option("Dir::Cache::pkgcache", base.join("pkgcache.bin")),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("--option").arg(setting);
        }
        finish(command.args(arguments))
    }
}

fn finish(command: &mut Command) -> Outcome {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Failure::Tool(format!("cannot run {name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::Tool(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}

/// The machine's package sources, each turned into a source entry of the deb822 form.
fn source_entries() -> Result<String, Failure> {
    let mut entries = String::new();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    }
    files.sort();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => text.lines().filter_map(from_one_line).for_each(|entry| entries.push_str(&entry)),
            Some("sources") => text.split("\n\n").filter_map(from_stanza).for_each(|entry| entries.push_str(&entry)),
            _ => {}
        }
    }
    Ok(entries)
}

/// `deb [options] URI SUITE COMPONENT…` as a source stanza.
fn from_one_line(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let components: Vec<&str> = words.collect();
    let signed = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let mut stanza = format!("Types: deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: {}\n", components.join(" "));
    if let Some(key) = signed {
        stanza.push_str(&format!("Signed-By: {key}\n"));
    }
    stanza.push('\n');
    Some(stanza)
}

/// A deb822 stanza of binary packages as one of source packages.
fn from_stanza(stanza: &str) -> Option<String> {
    let types = stanza.lines().find_map(|line| line.strip_prefix("Types:"))?;
    if !types.split_whitespace().any(|kind| kind == "deb") {
        return None;
    }
    let lines = stanza.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let lines = lines.map(|line| if line.starts_with("Types:") { "Types: deb-src" } else { line });
    Some(lines.collect::<Vec<_>>().join("\n") + "\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_line_entry_becomes_a_source_stanza() {
        let stanza =
            from_one_line("deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian stable main contrib");
        let expected = "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: stable\n\
                        Components: main contrib\nSigned-By: /k.gpg\n\n";
        assert_eq!(stanza.as_deref(), Some(expected));
        assert_eq!(from_one_line("# deb http://mirror.example/debian stable main"), None);
        assert_eq!(from_one_line("deb-src http://mirror.example/debian stable main"), None);
    }

    #[test]
    fn a_stanza_keeps_everything_but_its_type() {
        let stanza = "Types: deb\n# comment\nURIs: http://mirror.example/debian\nSuites: stable\nComponents: main";
        let expected = "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: stable\nComponents: main\n\n";
        assert_eq!(from_stanza(stanza).as_deref(), Some(expected));
        assert_eq!(from_stanza("Types: deb-src\nURIs: x"), None);
    }
}
