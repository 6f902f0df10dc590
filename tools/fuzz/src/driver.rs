//! A driver without coverage: seeds are changed at random, the results tried, and what fails is made small.
//!
//! The same seed number tries the same inputs. The input that is being tried stands in a file, so that it is there
//! even when the process dies of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Target;

/// Inputs grow no longer than this.
const LENGTH_MAX: usize = 4096;
/// Changed inputs that are kept besides the seeds, as ground for further changes.
const POOL_MAX: usize = 256;
/// An input that takes longer is a finding.
const TIME_MAX: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// So many inputs were tried, and all went well.
    Fine(u64),
    /// An input for which the target's promise is broken, made small, with what the target said.
    Finding(Vec<u8>, String),
}

/// Tries changed seeds for a time. `current` is the file that holds the input which is being tried.
///
/// # Errors
/// The file could not be written.
pub fn run(target: &Target, seeds: &[Vec<u8>], number: u64, time: Duration, current: &Path) -> std::io::Result<Ending> {
    let words: Vec<Vec<u8>> = seeds.iter().flat_map(|seed| words(seed)).collect();
    let mut pool = seeds.to_vec();
    pool.push(Vec::new());
    let mut dice = Dice(number.wrapping_mul(2).wrapping_add(1));
    let (start, mut tried) = (Instant::now(), 0);
    // Seeds come first, unchanged.
    while tried < seeds.len() as u64 || start.elapsed() < time {
        let input = match seeds.get(tried as usize) {
            Some(seed) => seed.clone(),
            None => changed(&mut dice, &pool, &words),
        };
        tried += 1;
        std::fs::write(current, &input)?;
        if let Some(said) = attempt(target, &input) {
            let small = smallest(target, input);
            std::fs::write(current, &small)?;
            return Ok(Ending::Finding(small, said));
        }
        if dice.roll(16) == 0 {
            if pool.len() < seeds.len() + POOL_MAX {
                pool.push(input);
            } else {
                let place = seeds.len() + dice.roll(POOL_MAX);
                pool[place] = input;
            }
        }
    }
    Ok(Ending::Fine(tried))
}

/// What the target said if the input breaks its promise.
fn attempt(target: &Target, input: &[u8]) -> Option<String> {
    let start = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(()) if start.elapsed() > TIME_MAX => Some(format!("it took {:?}", start.elapsed())),
        Ok(()) => None,
        Err(panic) => Some(match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "a panic without a text".to_owned(),
        }),
    }
}

/// Takes parts away as long as it still fails.
fn smallest(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut size = input.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            if attempt(target, &shorter).is_some() {
                input = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

/// The words and signs of a seed.
fn words(seed: &[u8]) -> Vec<Vec<u8>> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    seed.chunk_by(|a, b| is_word(a) && is_word(b)).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
}

/// A few changes to one of the pool.
fn changed(dice: &mut Dice, pool: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = dice.pick(pool).cloned().unwrap_or_default();
    for _ in 0..=dice.roll(6) {
        let (from, to) = dice.range(input.len());
        match dice.roll(9) {
            0 => drop(input.drain(from..to)),
            1 => {
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            2 => input.insert(from, dice.roll(256) as u8),
            3 => input.insert(from, *dice.pick(b"\n\r\0 \t\"'\\{}[]();=$#-:,.").unwrap_or(&b'\n')),
            4 | 5 => drop(input.splice(from..from, dice.pick(words).cloned().unwrap_or_default())),
            6 => {
                let part: Vec<u8> = input[from..to].to_vec();
                let (place, _) = dice.range(input.len());
                input.splice(place..place, part.repeat(1 + dice.roll(3)));
            }
            7 => {
                let other = dice.pick(pool).cloned().unwrap_or_default();
                let (start, end) = dice.range(other.len());
                input.splice(from..to, other[start..end].to_vec());
            }
            _ => drop(input.splice(from..to, dice.pick(words).cloned().unwrap_or_default())),
        }
    }
    input.truncate(LENGTH_MAX);
    input
}

/// Random numbers that can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        from.get(self.roll(from.len()))
    }

    /// A part of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.roll(length + 1);
        let most = if self.roll(4) == 0 { length } else { 8 };
        (from, (from + self.roll(most + 1)).min(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICKY: Target =
        Target { name: "picky", summary: "", run: |bytes| assert!(!bytes.contains(&b'!'), "shouted") };

    #[test]
    fn what_fails_is_found_and_made_small() {
        let current = std::env::temp_dir().join(format!("rsty-fuzz-driver-{}", std::process::id()));
        let seeds = [b"hello world".to_vec(), b"x".to_vec()];
        let ending = run(&PICKY, &seeds, 1, Duration::from_mins(5), &current).expect("writes");
        let Ending::Finding(input, said) = ending else { panic!("{ending:?}") };
        assert_eq!((input.as_slice(), said.as_str()), (b"!".as_slice(), "shouted"));
        assert_eq!(std::fs::read(&current).expect("there"), b"!");
        std::fs::remove_file(current).expect("there");
    }

    #[test]
    fn seeds_of_all_targets_hold() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for target in crate::TARGETS.iter().filter(|target| target.name != "bytecode") {
            let seeds = std::fs::read_dir(folder.join(target.name)).expect("each target has seeds");
            for seed in seeds {
                let bytes = std::fs::read(seed.expect("listed").path()).expect("read");
                assert_eq!(attempt(target, &bytes), None, "{}", target.name);
            }
        }
    }
}
