//! Many rounds of the same blocks: how often each failed.

use std::collections::BTreeMap;

use crate::report::human::{DIM, RED, RESET};
use crate::report::visible;
use crate::run::outcome::{Attempt, BlockId, BlockReport};

/// One report for each block, with the attempts of all its rounds. A round that failed stands last, so that the block
/// counts as failed.
pub fn joined(reports: Vec<BlockReport>) -> Vec<BlockReport> {
    let mut blocks: BTreeMap<BlockId, Vec<Attempt>> = BTreeMap::new();
    for report in reports {
        blocks.entry(report.id).or_default().extend(report.attempts);
    }
    let join = |(id, mut attempts): (BlockId, Vec<Attempt>)| {
        attempts.sort_by_key(Attempt::has_failed);
        BlockReport { id, attempts }
    };
    blocks.into_iter().map(join).collect()
}

/// The blocks that failed in some rounds, the most frequent first.
pub fn table(joined: &[BlockReport]) -> String {
    let failures = |report: &BlockReport| report.attempts.iter().filter(|attempt| attempt.has_failed()).count();
    let mut failed: Vec<(usize, &BlockReport)> = joined.iter().map(|report| (failures(report), report)).collect();
    failed.retain(|(failures, _)| *failures > 0);
    failed.sort_by_key(|(failures, report)| (std::cmp::Reverse(*failures), report.id.clone()));
    let mut out = String::new();
    for (failures, report) in failed {
        let id = &report.id;
        let rounds = report.attempts.len();
        let place = visible(format!("{}:{}  {}", id.file.display(), id.line, id.name).as_bytes());
        out.push_str(&format!("{RED}failed {failures} of {rounds} times{RESET}  {place}\n"));
    }
    if out.is_empty() {
        out = format!("{DIM}no block failed in any round{RESET}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::outcome::BlockVerdict;

    #[test]
    fn one_failure_in_many_rounds_is_a_failure_and_is_counted() {
        let id = BlockId { file: Arc::new("t/a.t".into()), number: 1, line: 3, name: "TEST 1: a".to_owned() };
        let round = |attempt| BlockReport { id: id.clone(), attempts: vec![attempt] };
        let reports = vec![
            round(Attempt::impossible("once")),
            round(Attempt::skipped("x".to_owned())),
            round(Attempt::skipped("x".to_owned())),
        ];
        let joined = joined(reports);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].verdict(), BlockVerdict::Failed);
        assert!(table(&joined).contains("failed 1 of 3 times"), "{}", table(&joined));
        assert!(table(&[]).contains("no block failed"));
    }
}
