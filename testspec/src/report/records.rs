//! What the last runs showed, kept in `.rsty/` for the next: verdicts for `--last-failed`, durations for
//! `--partition`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::outcome::{BlockId, BlockReport, BlockVerdict};

/// The records of all blocks ever run here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Records {
    version: u32,
    blocks: BTreeMap<String, BTreeMap<String, Record>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    verdict: String,
    seconds: f64,
}

const VERSION: u32 = 1;

impl Default for Records {
    fn default() -> Self {
        Self { version: VERSION, blocks: BTreeMap::new() }
    }
}

impl Records {
    /// Reads the records in a folder. Missing or foreign records are empty ones: they only serve convenience.
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("records.json")).unwrap_or_default();
        let records: Self = serde_json::from_slice(&text).unwrap_or_default();
        if records.version == VERSION { records } else { Self::default() }
    }

    /// Reads the records in a file that the user names: one that can't be read, or holds something else, is an error.
    pub fn read_file(path: &Path) -> io::Result<Self> {
        let records: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        if records.version == VERSION { Ok(records) } else { Err(io::Error::other("these are no records of runs")) }
    }

    /// Writes the records, whole or not at all.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(ignore, "*\n")?;
        }
        let file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(io::BufWriter::new(&file), self)?;
        file.persist(folder.join("records.json")).map(|_| ()).map_err(|error| error.error)
    }

    /// Writes the records for a file that the user names.
    pub fn write_to(&self, mut out: impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        out.write_all(b"\n")
    }

    /// Takes in a block's outcome.
    pub fn add(&mut self, report: &BlockReport) {
        let file = self.blocks.entry(report.id.file.to_string_lossy().into_owned()).or_default();
        let record = Record { verdict: report.verdict().word().to_owned(), seconds: report.duration().as_secs_f64() };
        file.insert(report.id.name.clone(), record);
    }

    /// Whether the block failed when it last ran.
    pub fn failed(&self, id: &BlockId) -> bool {
        self.find(id).is_some_and(|record| record.verdict == BlockVerdict::Failed.word())
    }

    /// How long the block took when it last ran.
    pub fn duration(&self, id: &BlockId) -> Option<Duration> {
        self.find(id).and_then(|record| Duration::try_from_secs_f64(record.seconds).ok())
    }

    fn find(&self, id: &BlockId) -> Option<&Record> {
        self.blocks.get(&*id.file.to_string_lossy())?.get(&id.name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::outcome::Attempt;

    #[test]
    fn records_survive_a_run_and_garbage_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 1, name: "a".to_owned() };
        let mut attempt = Attempt::impossible("why");
        attempt.duration = Duration::from_millis(1500);
        let mut records = Records::read(folder.path());
        records.add(&BlockReport { id: id.clone(), attempts: vec![attempt] });
        records.write(folder.path()).unwrap();
        let read = Records::read(folder.path());
        assert!(read.failed(&id));
        assert_eq!(read.duration(&id), Some(Duration::from_millis(1500)));
        std::fs::write(folder.path().join("records.json"), "{").unwrap();
        assert!(!Records::read(folder.path()).failed(&id));
    }
}
