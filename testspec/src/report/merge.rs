//! Joining JUnit reports, such as those of the parts of a partitioned suite.

use std::collections::BTreeMap;
use std::io;

use quick_junit::{DeserializeError, Report, TestSuite};

/// One report of many. Suites of the same name become one; a case that two reports have is kept twice, since a result
/// must not vanish. The error tells which text is no JUnit report.
pub fn junit<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Report, (usize, DeserializeError)> {
    let mut merged = Report::new("rsty test");
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    for (index, text) in texts.into_iter().enumerate() {
        let report = Report::deserialize_from_str(text).map_err(|error| (index, error))?;
        // The parts ran side by side.
        merged.time = merged.time.max(report.time);
        for suite in report.test_suites {
            let name = suite.name.as_str().to_owned();
            let own = suites.entry(name.clone()).or_insert_with(|| TestSuite::new(name));
            own.time = match (own.time, suite.time) {
                (Some(own), Some(other)) => Some(own + other),
                (own, other) => own.or(other),
            };
            own.add_test_cases(suite.test_cases);
        }
    }
    merged.add_test_suites(suites.into_values());
    Ok(merged)
}

/// Writes a report.
pub fn write(report: &Report, out: impl io::Write) -> io::Result<()> {
    report.serialize(out).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::outcome::{Attempt, BlockId, BlockReport};

    fn text(file: &str, number: usize, fails: bool) -> String {
        let name = format!("TEST {number}: </testcase>]]>");
        let id = BlockId { file: Arc::new(file.into()), number, line: number, name };
        let attempt = if fails { Attempt::impossible("why ]]>") } else { Attempt::skipped("x".to_owned()) };
        let mut out = Vec::new();
        crate::report::junit::write(&[BlockReport { id, attempts: vec![attempt] }], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn suites_are_joined_by_name_and_the_counts_follow() {
        let texts = [text("t/b.t", 1, true), text("t/a.t", 1, false), text("t/b.t", 2, false)];
        let report = junit(texts.iter().map(String::as_str)).unwrap();
        let suites: Vec<(&str, usize, usize)> =
            report.test_suites.iter().map(|suite| (suite.name.as_str(), suite.tests, suite.errors)).collect();
        assert_eq!(suites, [("t/a.t", 1, 0), ("t/b.t", 2, 1)]);
        assert_eq!((report.tests, report.errors, report.skipped), (3, 1, 2));
        let mut out = Vec::new();
        write(&report, &mut out).unwrap();
        let again = junit([std::str::from_utf8(&out).unwrap()]).unwrap();
        assert_eq!(again.tests, 3);
        assert_eq!(again.test_suites[1].test_cases[0].name.as_str(), "TEST 1: </testcase>]]>");
    }

    #[test]
    fn what_is_no_report_is_named() {
        let good = text("t/a.t", 1, false);
        assert_eq!(junit([good.as_str(), "<html/>"]).unwrap_err().0, 1);
    }
}
