//! The time stamp of log lines: the cached clock, formatted at most once a second and thread.

use std::cell::Cell;

/// `YYYY/MM/DD HH:MM:SS` in local time.
pub type ErrorLogTime = [u8; 19];

thread_local! {
    static CACHED: Cell<(i64, ErrorLogTime)> = const { Cell::new((i64::MIN, [b'0'; 19])) };
}

/// The current local time as error log lines show it.
pub fn error_log_time() -> ErrorLogTime {
    let now = crate::clock::now().sec;
    let (second, text) = CACHED.get();
    if second == now {
        return text;
    }
    let text = format(&crate::process::local_time(now));
    CACHED.set((now, text));
    text
}

fn format(time: &crate::process::LocalTime) -> ErrorLogTime {
    let mut text = *b"0000/00/00 00:00:00";
    let year = time.year.clamp(0, 9999) as u32;
    let fields = [
        (0, year / 100),
        (2, year % 100),
        (5, u32::from(time.month)),
        (8, u32::from(time.day)),
        (11, u32::from(time.hour)),
        (14, u32::from(time.minute)),
        (17, u32::from(time.second)),
    ];
    for (at, value) in fields {
        text[at] = b'0' + (value / 10 % 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_padded_with_zeros() {
        let time = crate::process::LocalTime {
            year: 2026,
            month: 1,
            day: 2,
            hour: 3,
            minute: 4,
            second: 5,
            weekday: 5,
            offset_minutes: 0,
        };
        assert_eq!(&format(&time), b"2026/01/02 03:04:05");
    }
}
