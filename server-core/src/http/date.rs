//! Dates as HTTP and logs write them; the current one is formatted once a second.

use std::cell::{Cell, RefCell};
use std::thread::LocalKey;

use bytes::Bytes;

use super::modules::calendar::Moment;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub type HttpDate = [u8; 29];

thread_local! {
    static NOW: Cell<(i64, HttpDate)> = const { Cell::new((i64::MIN, [b' '; 29])) };
    static LOG_TIME: RefCell<(i64, Bytes)> = const { RefCell::new((i64::MIN, Bytes::new())) };
    static ISO8601: RefCell<(i64, Bytes)> = const { RefCell::new((i64::MIN, Bytes::new())) };
}

/// The current date.
pub fn now() -> HttpDate {
    let second = crate::clock::now().sec;
    let (cached, text) = NOW.get();
    if cached == second {
        return text;
    }
    let text = http_time(second);
    NOW.set((second, text));
    text
}

/// The date `seconds` after 1970 began.
pub fn http_time(seconds: i64) -> HttpDate {
    // Years beyond four digits can't be written.
    let moment = Moment::new(seconds.clamp(-62_135_596_800, 253_402_300_799), 0);
    let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    text[..3].copy_from_slice(&moment.weekday_abbreviation().as_bytes()[..3]);
    text[8..11].copy_from_slice(&moment.month_abbreviation().as_bytes()[..3]);
    let numbers = [(5, moment.day), (12, moment.year / 100), (14, moment.year), (17, moment.hour)];
    for (at, number) in numbers.into_iter().chain([(20, moment.minute), (23, moment.second)]) {
        text[at] = b'0' + (number / 10 % 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
    text
}

/// `Sun, 06-Nov-94 08:49:37 GMT`, for cookies; years after 2037, which old clients take for others, in full.
pub fn cookie_time(seconds: i64) -> String {
    let moment = Moment::new(seconds.clamp(-62_135_596_800, 253_402_300_799), 0);
    let format = if moment.year > 2037 { "%a, %d-%b-%Y %H:%M:%S GMT" } else { "%a, %d-%b-%y %H:%M:%S GMT" };
    moment.strftime(format, "GMT")
}

/// The current time as logs write it: `06/Nov/1994:08:49:37 +0000`, in local time.
pub fn log_time() -> Bytes {
    this_second(&LOG_TIME, |second| local(second).strftime("%d/%b/%Y:%H:%M:%S %z", ""))
}

/// The current time as `1994-11-06T08:49:37+00:00`, in local time.
pub fn iso8601() -> Bytes {
    this_second(&ISO8601, |second| {
        let mut text = local(second).strftime("%Y-%m-%dT%H:%M:%S%z", "");
        if text.len() > 2 {
            text.insert(text.len() - 2, ':');
        }
        text
    })
}

/// A text that is the same for a second.
fn this_second(cache: &'static LocalKey<RefCell<(i64, Bytes)>>, format: impl FnOnce(i64) -> String) -> Bytes {
    let second = crate::clock::now().sec;
    cache.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            (*cached, *text) = (second, format(second).into());
        }
        text.clone()
    })
}

fn local(seconds: i64) -> Moment {
    let offset = i64::from(crate::process::local_time(seconds).offset_minutes) * 60;
    Moment::new(seconds, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_logs_is_that_of_the_clock() {
        let second = crate::clock::now().sec;
        let of_day = local(second).strftime("%H:%M:%S", "");
        for text in [log_time(), log_time(), iso8601()] {
            assert!(String::from_utf8_lossy(&text).contains(&of_day), "{text:?}");
        }
        assert!(LOG_TIME.with_borrow(|(cached, _)| *cached == second));
    }

    #[test]
    fn dates_are_written_as_http_wants_them() {
        assert_eq!(&http_time(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&http_time(1_709_164_800), b"Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(&http_time(i64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&http_time(i64::MIN), b"Mon, 01 Jan 0001 00:00:00 GMT");
        assert_eq!(cookie_time(784_111_777), "Sun, 06-Nov-94 08:49:37 GMT");
        assert_eq!(cookie_time(4_102_444_800), "Fri, 01-Jan-2100 00:00:00 GMT");
    }
}
