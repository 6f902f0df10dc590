//! How many blocks run at the same time, by what the processors have left.
//!
//! Blocks mostly wait: for a timer, a peer, a log. How many of them fill the machine depends on the suite and on what
//! else runs there, so the number follows what is seen: it grows while processors idle although all places are taken,
//! and shrinks again when none has time left. `/proc/stat` tells of idle time for the whole machine; where a container
//! has a quota below that, its control group tells when it was held back. A system that tells neither keeps the number
//! from which a run starts.

use std::path::Path;

/// How many blocks run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jobs {
    /// From how many the run starts; never fewer.
    pub least: usize,
    /// Never more.
    pub most: usize,
}

/// Blocks that a run starts with for each processor.
const BLOCKS_A_PROCESSOR: usize = 4;

impl Jobs {
    /// Always this many.
    pub const fn fixed(number: usize) -> Self {
        Self { least: number, most: number }
    }

    /// How many leave time to each: for blocks that failed when more ran.
    pub const fn calm(self) -> usize {
        let number = self.least / 2;
        if number > 0 { number } else { 1 }
    }

    /// What suits a machine that gives this program so many processors.
    pub const fn for_processors(processors: usize) -> Self {
        let (least, most) = (processors.saturating_mul(BLOCKS_A_PROCESSOR), processors.saturating_mul(16));
        // More lanes than these cost more memory than they save time.
        Self { least: if least > 256 { 256 } else { least }, most: if most > 256 { 256 } else { most } }
    }
}

/// What the system has counted since its start. Only differences mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Time of all processors, in ticks.
    total: u64,
    /// The part of it in which they had nothing to do.
    idle: u64,
    /// How often this container was held back for its quota.
    held_back: u64,
}

impl Counters {
    /// The counters now; `None` where the system doesn't tell.
    pub fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        // Version 2 of control groups, or version 1.
        let quota = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"];
        let held_back = quota.iter().find_map(|path| held_back(&std::fs::read_to_string(Path::new(path)).ok()?));
        Self::parse(&text, held_back.unwrap_or(0))
    }

    /// Reads the first line of `/proc/stat`: user, nice, system, idle, waiting for disks, and more.
    fn parse(stat: &str, held_back: u64) -> Option<Self> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = numbers.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = times.get(3)?.saturating_add(*times.get(4)?);
        // What guests used is part of the first two.
        let total = times.iter().take(8).fold(0_u64, |sum, time| sum.saturating_add(*time));
        Some(Self { total, idle, held_back })
    }

    /// The share of the processors' time since `before` in which they idled, in percent. `None` if no time has passed.
    fn idle_since(&self, before: &Self) -> Option<u64> {
        if self.held_back > before.held_back {
            return Some(0);
        }
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        Some(self.idle.saturating_sub(before.idle).min(total) * 100 / total)
    }
}

fn held_back(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok())
}

/// From this much idle time on, in percent, another block has room.
const ROOM: u64 = 12;
/// With less than this, there are too many.
const CROWD: u64 = 3;

/// The number of places, as it follows the counters.
#[derive(Debug)]
pub struct Places {
    jobs: Jobs,
    now: usize,
    last: Option<Counters>,
    is_crowded: bool,
}

impl Places {
    /// As many as a run starts with.
    pub const fn new(jobs: Jobs) -> Self {
        Self { jobs, now: jobs.least, last: None, is_crowded: false }
    }

    /// How many there are now.
    pub const fn number(&self) -> usize {
        self.now
    }

    /// Whether the processors had hardly any time left between the last two looks.
    pub const fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Takes in what the system says now, and whether work waits only because all places are taken.
    pub fn look(&mut self, counters: Option<Counters>, is_full: bool) {
        let idle = counters.as_ref().zip(self.last.as_ref()).and_then(|(now, before)| now.idle_since(before));
        self.last = counters;
        self.is_crowded = idle.is_some_and(|idle| idle < ROOM);
        match idle {
            // Half as many again at most, and more carefully when little is left.
            Some(idle @ ROOM..) if is_full => {
                let more = (self.now * usize::try_from(idle).unwrap_or(0) / 200).max(1);
                self.now = (self.now + more).min(self.jobs.most);
            }
            Some(..CROWD) => self.now = self.now.saturating_sub(1).max(self.jobs.least),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(total: u64, idle: u64) -> Option<Counters> {
        Some(Counters { total, idle, held_back: 0 })
    }

    #[test]
    fn places_follow_idle_time_between_their_bounds() {
        let mut places = Places::new(Jobs { least: 8, most: 14 });
        places.look(counters(1000, 900), true);
        assert_eq!(places.number(), 8, "one look says nothing");
        places.look(counters(1100, 950), true);
        assert_eq!(places.number(), 10, "half of the time was idle");
        places.look(counters(1200, 1050), false);
        assert_eq!(places.number(), 10, "nobody waits for a place");
        places.look(counters(1300, 1150), true);
        places.look(counters(1400, 1250), true);
        assert_eq!(places.number(), 14);
        assert!(!places.is_crowded());
        places.look(counters(1500, 1258), true);
        assert_eq!(places.number(), 14, "little is left");
        assert!(places.is_crowded());
        for step in 1..20 {
            places.look(counters(1500 + step * 100, 1258), true);
        }
        assert_eq!(places.number(), 8);
    }

    #[test]
    fn a_hard_number_stays() {
        let mut places = Places::new(Jobs::fixed(3));
        for step in 1..9 {
            places.look(counters(step * 100, step * 100), true);
        }
        assert_eq!(places.number(), 3);
        assert_eq!(Jobs::for_processors(2), Jobs { least: 8, most: 32 });
        assert_eq!(Jobs::for_processors(128), Jobs::fixed(256));
        assert_eq!((Jobs::for_processors(2).calm(), Jobs::fixed(3).calm()), (4, 1));
    }

    #[test]
    fn a_quota_counts_although_the_machine_idles() {
        let before = Counters { total: 0, idle: 0, held_back: 4 };
        let now = Counters { total: 100, idle: 90, held_back: 5 };
        assert_eq!(now.idle_since(&before), Some(0));
        assert_eq!(held_back("usage_usec 12\nnr_periods 9\nnr_throttled 7\nthrottled_usec 1\n"), Some(7));
        assert_eq!(held_back("usage_usec 12\n"), None);
    }

    #[test]
    fn the_first_line_of_stat_is_read() {
        let text = "cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 2 3 4\n";
        assert_eq!(Counters::parse(text, 0), Some(Counters { total: 531, idle: 450, held_back: 0 }));
        for wrong in ["", "cpu0 1 2 3 4 5\n", "cpu  1 2 3\n", "cpu  1 2 x 4 5\n"] {
            assert_eq!(Counters::parse(wrong, 0), None, "{wrong}");
        }
        // A system that counts nothing.
        let zero = Counters::parse("cpu  0 0 0 0 0 0 0 0\n", 0).unwrap();
        assert_eq!(zero.idle_since(&zero), None);
    }
}
