use super::slab::Layout;
use super::*;
use crate::lua::ffi::hash::crc32;
use crate::process::{Fork, fork};

const NOW: u64 = 1_700_000_000_000;

fn zone(size: usize) -> Zone {
    Zone::create(b"dogs", size).unwrap()
}

fn set(zone: &Zone, key: &str, value: Value<'_>) -> Stored {
    zone.store(Op::SET, key.as_bytes(), value, 0, 0, NOW)
}

fn get(zone: &Zone, key: &str, now: u64) -> Option<String> {
    zone.read(key.as_bytes(), false, now, |read| match read.unwrap().value {
        Value::Nil => None,
        Value::Str(text) => Some(String::from_utf8_lossy(text).into_owned()),
        other => Some(format!("{other:?}")),
    })
}

#[test]
fn values_of_all_types_come_back() {
    let zone = zone(65_536);
    set(&zone, "s", Value::Str(b"hello"));
    set(&zone, "n", Value::Number(3.5));
    set(&zone, "b", Value::Bool(true));
    assert_eq!(get(&zone, "s", NOW).as_deref(), Some("hello"));
    assert_eq!(get(&zone, "n", NOW).as_deref(), Some("Number(3.5)"));
    assert_eq!(get(&zone, "b", NOW).as_deref(), Some("Bool(true)"));
    set(&zone, "s", Value::Nil);
    assert_eq!(get(&zone, "s", NOW), None);
}

#[test]
fn add_and_replace_look_first() {
    let zone = zone(65_536);
    let add = |ttl, now| zone.store(Op::ADD, b"k", Value::Number(1.0), ttl, 0, now).result;
    assert_eq!(zone.store(Op::REPLACE, b"k", Value::Number(1.0), 0, 0, NOW).result, Err(Failure::NotFound));
    assert_eq!(add(10, NOW), Ok(()));
    assert_eq!(add(10, NOW), Err(Failure::Exists));
    assert_eq!(add(10, NOW + 10), Ok(()));
    assert_eq!(zone.store(Op::ADD, b"k", Value::Nil, 0, 0, NOW).result, Err(Failure::NilValue));
}

#[test]
fn expired_values_can_be_read_as_stale() {
    let zone = zone(65_536);
    zone.store(Op::SET, b"k", Value::Str(b"v"), 100, 7, NOW);
    assert_eq!(zone.ttl(b"k", NOW + 40), Some(60));
    let stale = |now| zone.read(b"k", true, now, |read| read.map(|read| (read.stale, read.flags)));
    assert_eq!(stale(NOW), Ok((false, 7)));
    assert_eq!(stale(NOW + 100), Ok((true, 7)));
    assert_eq!(get(&zone, "k", NOW + 100), None);
    assert_eq!(zone.ttl(b"k", NOW), None);
}

#[test]
fn incr_needs_a_number_or_a_start() {
    let zone = zone(65_536);
    assert_eq!(zone.incr(b"n", 2.0, None, NOW), (Err(Failure::NotFound), false));
    assert_eq!(zone.incr(b"n", 2.0, Some((40.0, 0)), NOW), (Ok(42.0), false));
    assert_eq!(zone.incr(b"n", -1.0, Some((0.0, 0)), NOW), (Ok(41.0), false));
    set(&zone, "s", Value::Str(b"12345678"));
    assert_eq!(zone.incr(b"s", 1.0, None, NOW), (Err(Failure::NotANumber), false));
}

#[test]
fn full_zone_evicts_the_least_recently_used() {
    let zone = zone(102_400);
    let mut count = 0;
    loop {
        let stored = set(&zone, &format!("key{count:06}"), Value::Str(&[b'x'; 200]));
        assert_eq!(stored.result, Ok(()));
        if stored.forcible {
            break;
        }
        count += 1;
        // The first key stays in use.
        assert!(get(&zone, "key000000", NOW).is_some());
    }
    // 22 pages of eight entries, of which the roots share one page with nobody.
    assert_eq!(count, 176);
    assert_eq!(get(&zone, "key000001", NOW), None);
    assert!(get(&zone, "key000000", NOW).is_some());
    assert_eq!(zone.store(Op::SAFE, b"other", Value::Str(&[0; 2000]), 0, 0, NOW).result, Err(Failure::NoMemory));
    assert_eq!(set(&zone, "big", Value::Str(&vec![0; 200_000])).result, Err(Failure::NoMemory));
}

#[test]
fn pages_come_back_when_entries_go() {
    let zone = zone(1 << 20);
    let free = zone.free_space();
    for round in 0..3 {
        for i in 0..2000 {
            let len = (i * 37 + round * 11) % 9000;
            assert_eq!(set(&zone, &format!("k{}", i % 90), Value::Str(&vec![b'v'; len])).result, Ok(()));
        }
        for i in 0..90 {
            set(&zone, &format!("k{i}"), Value::Nil);
        }
        assert_eq!(zone.free_space(), free);
    }
    // One run again: a value as large as all pages fits.
    assert_eq!(set(&zone, "k", Value::Str(&vec![0; free - 100])).result, Ok(()));
}

#[test]
fn free_space_counts_pages_as_nginx_does() {
    // 12 KiB minus header, slots, descriptors: two pages, of which the roots take two.
    assert_eq!(zone(12 << 10).free_space(), 0);
    assert_eq!(zone(16 << 10).free_space(), 4096);
    assert_ne!(Layout::of(16 << 10), Layout::of(20 << 10));
}

#[test]
fn smallest_chunks_are_distinct() {
    let zone = zone(65_536);
    zone.locked(NOW, |dict| {
        let before = dict.slab.free_space();
        for size in [1, 8, 9, 16, 17, 32, 64, 65, 2048] {
            let mut blocks: Vec<usize> = (0..300).filter_map(|_| dict.slab.alloc(size)).collect();
            let count = blocks.len();
            blocks.sort_unstable();
            blocks.dedup_by(|next, at| *next < *at + size);
            assert_eq!(blocks.len(), count, "blocks of {size} overlap");
            for block in blocks {
                dict.slab.free(block);
            }
            assert_eq!(dict.slab.free_space(), before, "blocks of {size}");
        }
    });
}

#[test]
fn lists_work_at_both_ends() {
    let zone = zone(65_536);
    let free = zone.free_space();
    let pop = |end| {
        zone.pop(b"l", end, NOW, |value| match value {
            Ok(Value::Str(text)) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        })
    };
    assert_eq!(zone.push(b"l", End::Right, Value::Str(b"b"), NOW), Ok(1));
    assert_eq!(zone.push(b"l", End::Left, Value::Str(b"a"), NOW), Ok(2));
    assert_eq!(zone.push(b"l", End::Right, Value::Number(3.0), NOW), Ok(3));
    assert_eq!(zone.llen(b"l", NOW), Ok(3));
    assert_eq!(zone.read(b"l", false, NOW, |read: Result<Read<'_>, Failure>| read.err()), Some(Failure::IsList));
    assert_eq!(pop(End::Left), "a");
    assert_eq!(pop(End::Right), "Ok(Number(3.0))");
    assert_eq!(pop(End::Right), "b");
    assert_eq!(pop(End::Right), "Ok(Nil)");
    assert_eq!(zone.llen(b"l", NOW), Ok(0));
    set(&zone, "s", Value::Str(b""));
    assert_eq!(zone.push(b"s", End::Left, Value::Number(1.0), NOW), Err(Failure::NotAList));
    set(&zone, "s", Value::Nil);
    assert_eq!(zone.free_space(), free);
}

#[test]
fn flushes_and_keys_go_from_old_to_new() {
    let zone = zone(65_536);
    for (key, ttl) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        zone.store(Op::SET, key.as_bytes(), Value::Bool(true), ttl, 0, NOW);
    }
    let keys = |max, now| {
        let mut keys = String::new();
        zone.keys(max, now, |key| keys.push_str(&String::from_utf8_lossy(key)));
        keys
    };
    assert_eq!(keys(0, NOW), "abcd");
    assert_eq!(keys(3, NOW), "abc");
    assert_eq!(keys(0, NOW + 5), "ac");
    assert_eq!(zone.flush_expired(1, NOW + 5), 1);
    assert_eq!(zone.flush_expired(0, NOW + 5), 1);
    zone.flush_all(NOW);
    assert_eq!(keys(0, NOW), "");
}

#[test]
fn reload_keeps_zones_of_same_name_and_size() {
    let mut before = Zones::default();
    let dogs = before.open(b"dogs", 65_536, None).unwrap();
    let cats = before.open(b"cats", 65_536, None).unwrap();
    let mut after = Zones::default();
    assert!(Arc::ptr_eq(&dogs, &after.open(b"dogs", 65_536, Some(&before)).unwrap()));
    assert!(!Arc::ptr_eq(&cats, &after.open(b"cats", 131_072, Some(&before)).unwrap()));
}

#[test]
fn children_share_a_zone_and_their_death_unlocks_it() {
    let zone = zone(65_536);
    set(&zone, "kept", Value::Str(b"before"));
    in_child(&zone, |zone| {
        set(zone, "k", Value::Str(b"from a child"));
        // SAFETY: ends the child at once.
        zone.locked(NOW, |_| unsafe { libc::_exit(0) });
    });
    assert_eq!(get(&zone, "k", NOW).as_deref(), Some("from a child"));
    assert_eq!(get(&zone, "kept", NOW).as_deref(), Some("before"));
    assert!(!zone.take_recovered());
}

/// Runs `work` in a forked process and returns its exit code.
fn in_child(zone: &Zone, work: impl FnOnce(&Zone)) -> i32 {
    match fork().unwrap() {
        Fork::Child => {
            work(zone);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        Fork::Parent(child) => {
            let mut status = 0;
            // SAFETY: the place for the status lives during the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            libc::WEXITSTATUS(status)
        }
    }
}

/// Everything that can be seen of a zone: entries in the order of their use, with values or lists, and free pages.
fn seen(zone: &Zone) -> Vec<String> {
    let mut keys = Vec::new();
    zone.keys(0, NOW, |key| keys.push(String::from_utf8_lossy(key).into_owned()));
    let mut seen = vec![format!("{} bytes free", zone.free_space())];
    zone.locked(NOW, |dict| {
        let (down, up) = dict.both_ways();
        assert_eq!(down, up, "the list is the same from both ends");
        for key in &keys {
            let content = dict.content(key.as_bytes());
            let brief = content.map(|(parts, flags, expires)| {
                let sums: Vec<_> = parts.iter().map(|part| (part.len(), crc32(part))).collect();
                (sums, flags, expires)
            });
            seen.push(format!("{key}: {brief:?}"));
        }
    });
    seen
}

fn fill(zone: &Zone) {
    for i in 0..40 {
        set(zone, &format!("text{i}"), Value::Str(&vec![b'a' + i as u8 % 26; i * 37]));
        set(zone, &format!("number{i}"), Value::Number(f64::from(i as u32)));
    }
    for i in 0..12_u8 {
        zone.push(b"list", End::Right, Value::Str(&[i; 30]), NOW).unwrap();
    }
    set(zone, "page", Value::Str(&[b'p'; 9000]));
    zone.store(Op::SET, b"brief", Value::Number(1.0), 5, 0, NOW);
}

#[test]
fn a_change_whose_author_dies_at_any_point_is_undone() {
    type Change = fn(&Zone);
    let changes: &[(&str, Change)] = &[
        ("incr", |zone| {
            let _outcome = zone.incr(b"number3", 5.0, None, NOW);
        }),
        ("incr of a new one", |zone| {
            let _outcome = zone.incr(b"fresh", 5.0, Some((1.0, 0)), NOW);
        }),
        ("set in place", |zone| {
            let _outcome = set(zone, "text20", Value::Str(&[b'!'; 740]));
        }),
        ("set of a new one", |zone| {
            let _outcome = set(zone, "fresh", Value::Str(&[b'!'; 300]));
        }),
        ("set of pages", |zone| {
            let _outcome = set(zone, "fresh", Value::Str(&[b'!'; 10_000]));
        }),
        ("add", |zone| {
            let _outcome = zone.store(Op::ADD, b"fresh", Value::Bool(true), 9, 1, NOW);
        }),
        ("delete", |zone| {
            let _outcome = set(zone, "text7", Value::Nil);
        }),
        ("delete of pages", |zone| {
            let _outcome = set(zone, "page", Value::Nil);
        }),
        ("push", |zone| {
            let _outcome = zone.push(b"list", End::Left, Value::Str(b"first"), NOW);
        }),
        ("push to a new one", |zone| {
            let _outcome = zone.push(b"fresh", End::Right, Value::Number(2.0), NOW);
        }),
        ("pop left", |zone| zone.pop(b"list", End::Left, NOW, |_| ())),
        ("pop right", |zone| zone.pop(b"list", End::Right, NOW, |_| ())),
        ("expire", |zone| {
            let _outcome = zone.set_expire(b"text9", 1000, NOW);
        }),
        ("get", |zone| {
            let _outcome = get(zone, "text11", NOW);
        }),
        ("flush of an expired one", |zone| {
            let _outcome = zone.flush_expired(0, NOW + 10);
        }),
    ];
    for (name, change) in changes {
        let mut points = 0;
        let zone = zone(131_072);
        fill(&zone);
        change(&zone);
        let done = seen(&zone);
        loop {
            let zone = self::zone(131_072);
            fill(&zone);
            let before = seen(&zone);
            let code = in_child(&zone, |zone| {
                journal::KILL_AFTER.set(Some(points));
                change(zone);
            });
            let after = seen(&zone);
            if code == 0 {
                assert_eq!(after, done, "{name}");
                break;
            }
            // A change that has been carried out stays, even if its author dies before it can say so.
            assert!(after == before || after == done, "{name}, killed at point {points}: {after:#?}");
            // The zone is whole: everything can be taken out, and all of its pages come back.
            change(&zone);
            let empty = self::zone(131_072).free_space();
            let mut keys = Vec::new();
            zone.keys(0, NOW, |key| keys.push(key.to_vec()));
            for key in keys {
                assert_eq!(zone.store(Op::SET, &key, Value::Nil, 0, 0, NOW).result, Ok(()));
            }
            zone.flush_expired(0, NOW + 10_000);
            assert_eq!(zone.free_space(), empty, "{name}, killed at point {points}");
            points += 1;
        }
        assert!(points >= 3, "{name} has only {points} points");
    }
}

#[test]
fn changes_in_several_steps_are_whole_after_each() {
    let larger = |zone: &Zone| {
        set(zone, "list", Value::Str(&[b'!'; 500]));
    };
    let evicting = |zone: &Zone| {
        for i in 0..6 {
            set(zone, &format!("big{i}"), Value::Str(&vec![b'!'; 20_000]));
        }
    };
    for change in [&larger as &dyn Fn(&Zone), &evicting] {
        // Each point would take long; each seventh finds the same mistakes.
        for points in (0..).step_by(7) {
            let zone = zone(131_072);
            fill(&zone);
            let code = in_child(&zone, |zone| {
                journal::KILL_AFTER.set(Some(points));
                change(zone);
            });
            let whole = seen(&zone);
            assert!(whole.iter().all(|line| !line.ends_with("None")), "{whole:?}");
            zone.flush_all(NOW);
            zone.flush_expired(0, NOW);
            assert_eq!(zone.free_space(), self::zone(131_072).free_space(), "killed at point {points}");
            if code == 0 {
                break;
            }
        }
    }
}
