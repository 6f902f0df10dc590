//! Time: `ngx.now`, `ngx.http_time` and their relatives, all from the cached clock.

use std::ffi::{c_int, c_long};
use std::io::{Cursor, Write};

use super::{NgxStr, bytes, copy_to, export, store};
use crate::clock;

export! {
    /// Seconds since the epoch with milliseconds.
    ngx_http_lua_ffi_now, ngx_stream_lua_ffi_now() -> f64 {
        let now = clock::now();
        now.sec as f64 + now.msec as f64 / 1000.0
    }

    /// Seconds since the epoch.
    ngx_http_lua_ffi_time, ngx_stream_lua_ffi_time() -> c_long {
        clock::now().sec
    }

    /// Milliseconds of a clock that is never set back.
    ngx_http_lua_ffi_monotonic_msec, ngx_stream_lua_ffi_monotonic_msec() -> c_long {
        clock::now().monotonic_msec
    }

    /// Reads the clock anew.
    ngx_http_lua_ffi_update_time, ngx_stream_lua_ffi_update_time() {
        clock::update_exactly();
    }

    /// Writes the local date, 10 bytes.
    ngx_http_lua_ffi_today, ngx_stream_lua_ffi_today(buf: *mut u8) {
        let text = Civil::local(clock::now().sec).date_time();
        // SAFETY: the caller has room for 10 bytes; the text has 19.
        unsafe { copy_to(buf, &text[..10]) };
    }

    /// Writes the local date and time, 19 bytes.
    ngx_http_lua_ffi_localtime, ngx_stream_lua_ffi_localtime(buf: *mut u8) {
        // SAFETY: the caller has room for 19 bytes.
        unsafe { copy_to(buf, &Civil::local(clock::now().sec).date_time()) };
    }

    /// Writes the date and time of UTC, 19 bytes.
    ngx_http_lua_ffi_utctime, ngx_stream_lua_ffi_utctime(buf: *mut u8) {
        // SAFETY: the caller has room for 19 bytes.
        unsafe { copy_to(buf, &Civil::utc(clock::now().sec).date_time()) };
    }
}

export! {
    /// Writes a time for a `Set-Cookie` header and returns its length, 29 bytes at most.
    ngx_http_lua_ffi_cookie_time(buf: *mut u8, time: c_long) -> c_int {
        let (text, len) = Civil::utc(time).cookie();
        let len = len.min(29);
        // SAFETY: the caller has room for 29 bytes.
        unsafe { copy_to(buf, &text[..len]) };
        len as c_int
    }

    /// Writes a time for a header such as `Last-Modified`, 29 bytes.
    ngx_http_lua_ffi_http_time(buf: *mut u8, time: c_long) {
        // SAFETY: the caller has room for 29 bytes.
        unsafe { copy_to(buf, &http_time(time)) };
    }

    /// Reads an HTTP date; -1 when it is bad.
    ngx_http_lua_ffi_parse_http_time(text: *const u8, len: usize, time: *mut c_long) {
        // SAFETY: the contract of the parent module.
        unsafe { store(time, parse_http_time(bytes(text, len)).unwrap_or(-1)) }
    }

    /// nginx's `ngx_parse_time`: a span such as `1h30m`, in seconds or else in milliseconds; -1 when it is bad.
    ngx_parse_time(line: *const NgxStr, is_sec: usize) -> isize {
        // SAFETY: the contract of the parent module.
        let line = unsafe { bytes((*line).data, (*line).len) };
        parse_span(line, if is_sec == 0 { Unit::Milliseconds } else { Unit::Seconds }).unwrap_or(-1)
    }
}

const WEEK: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A point in time in the fields of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    hour: i64,
    min: i64,
    sec: i64,
}

impl Civil {
    /// A time before the epoch counts as the epoch, as in nginx.
    fn utc(time: i64) -> Self {
        let time = time.clamp(0, 253_402_300_799);
        let days = time / 86_400;
        let second = time % 86_400;
        // Days are counted from 1 March of year 0, so that leap days end a year.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let (month, carry) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
        Self {
            year: year_of_era + era * 400 + carry,
            month: month as usize,
            day: day_of_year - (153 * ((month + 10) % 12) + 2) / 5 + 1,
            weekday: ((days + 4) % 7) as usize,
            hour: second / 3600,
            min: second / 60 % 60,
            sec: second % 60,
        }
    }

    fn local(time: i64) -> Self {
        Self::utc(time + gmt_offset(time))
    }

    /// `2010-11-19 20:56:31`.
    fn date_time(self) -> [u8; 19] {
        let mut text = [0; 19];
        let Self { year, day, hour, min, sec, .. } = self;
        let month = self.month + 1;
        fill(&mut text, format_args!("{year:04}-{month:02}-{day:02} {hour:02}:{min:02}:{sec:02}"));
        text
    }

    /// `Mon, 28-Sep-38 06:00:00 GMT`; years from 2038 on have four digits.
    fn cookie(self) -> ([u8; 32], usize) {
        let mut text = [0; 32];
        let Self { year, day, hour, min, sec, .. } = self;
        let (week, month) = (WEEK[self.weekday % 7], MONTHS[self.month % 12]);
        let year = if year > 2037 { year } else { year % 100 };
        let time = format_args!("{week}, {day:02}-{month}-{year:02} {hour:02}:{min:02}:{sec:02} GMT");
        let len = fill(&mut text, time);
        (text, len)
    }
}

/// `Mon, 28 Sep 1970 06:00:00 GMT`.
pub fn http_time(time: i64) -> [u8; 29] {
    let civil = Civil::utc(time);
    let Civil { year, day, hour, min, sec, .. } = civil;
    let (week, month) = (WEEK[civil.weekday % 7], MONTHS[civil.month % 12]);
    let mut text = [0; 29];
    fill(&mut text, format_args!("{week}, {day:02} {month} {year:04} {hour:02}:{min:02}:{sec:02} GMT"));
    text
}

fn fill(buf: &mut [u8], text: std::fmt::Arguments<'_>) -> usize {
    let mut cursor = Cursor::new(buf);
    // A text that is too long is cut; there is nobody to tell.
    let _ = cursor.write_fmt(text);
    cursor.position() as usize
}

/// Seconds that local time is ahead of UTC.
fn gmt_offset(time: i64) -> i64 {
    i64::from(crate::process::local_time(time).offset_minutes) * 60
}

/// Reads the three formats of HTTP dates. Fields have to be in range; the day has to exist in its month.
pub fn parse_http_time(text: &[u8]) -> Option<i64> {
    let comma_or_space = text.iter().position(|byte| matches!(byte, b',' | b' '));
    let is_asctime = comma_or_space.is_some_and(|at| text[at] == b' ');
    let mut rest = text.get(comma_or_space? + 1..)?.trim_ascii_start();
    if rest.len() < 18 {
        return None;
    }
    let (day, month, year, clock);
    if is_asctime {
        month = take_month(&mut rest)?;
        take(&mut rest, b' ')?;
        if rest.first() == Some(&b' ') {
            take(&mut rest, b' ')?;
            day = take_digits(&mut rest, 1)?;
        } else {
            day = take_digits(&mut rest, 2).or_else(|| take_digits(&mut rest, 1))?;
        }
        take(&mut rest, b' ')?;
        clock = take_clock(&mut rest)?;
        take(&mut rest, b' ')?;
        year = take_digits(&mut rest, 4)?;
    } else {
        day = take_digits(&mut rest, 2)?;
        let separator = *rest.first().filter(|byte| matches!(byte, b' ' | b'-'))?;
        take(&mut rest, separator)?;
        month = take_month(&mut rest)?;
        take(&mut rest, separator)?;
        year = if separator == b' ' {
            take_digits(&mut rest, 4)?
        } else {
            let short = take_digits(&mut rest, 2)?;
            short + if short < 70 { 2000 } else { 1900 }
        };
        take(&mut rest, b' ')?;
        clock = take_clock(&mut rest)?;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
    if day > last_day || clock.iter().zip([23, 59, 59]).any(|(&field, max)| field > max) {
        return None;
    }
    let days = days_from_civil(year, month as i64 + 1, day);
    Some(days * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2])
}

/// Days since the epoch, in the calendar that counts from March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn take(rest: &mut &[u8], byte: u8) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    (*first == byte).then_some(())
}

fn take_digits(rest: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, tail) = rest.split_at_checked(count)?;
    let value =
        digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))?;
    *rest = tail;
    Some(value)
}

fn take_month(rest: &mut &[u8]) -> Option<usize> {
    let (name, tail) = rest.split_at_checked(3)?;
    *rest = tail;
    MONTHS.iter().position(|month| month.as_bytes() == name)
}

fn take_clock(rest: &mut &[u8]) -> Option<[i64; 3]> {
    let hour = take_digits(rest, 2)?;
    take(rest, b':')?;
    let min = take_digits(rest, 2)?;
    take(rest, b':')?;
    Some([hour, min, take_digits(rest, 2)?])
}

/// What a span of time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// Reads a span such as `1h30m`: units in falling order, a number without unit last.
pub fn parse_span(text: &[u8], unit: Unit) -> Option<isize> {
    const LAST: u8 = 9;
    const SECONDS: [(u8, u8, isize); 8] = [
        (b'y', 1, 31_536_000),
        (b'M', 2, 2_592_000),
        (b'w', 3, 604_800),
        (b'd', 4, 86_400),
        (b'h', 5, 3600),
        (b'm', 6, 60),
        (b's', 7, 1),
        (b' ', LAST, 1),
    ];
    let thousand = if unit == Unit::Seconds { 1 } else { 1000 };
    let mut step = if unit == Unit::Seconds { 0 } else { 2 };
    let mut rest = text;
    let mut total = 0_isize;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = rest[..digits]
            .iter()
            .try_fold(0_isize, |value, byte| value.checked_mul(10)?.checked_add(isize::from(byte - b'0')))?;
        let tail = &rest[digits..];
        let (next, scale, used) = match *tail {
            _ if digits == 0 => return None,
            [] => (LAST, thousand, 0),
            [b'm', b's', ..] if unit == Unit::Milliseconds => (8, 1, 2),
            [letter, ..] => {
                let &(_, next, seconds) = SECONDS.iter().find(|(name, ..)| *name == letter)?;
                (next, seconds.checked_mul(thousand)?, 1)
            }
        };
        if next <= step && !tail.is_empty() {
            return None;
        }
        step = next;
        total = total.checked_add(value.checked_mul(scale)?)?;
        rest = &tail[used..];
        rest = rest.trim_ascii_start();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_agrees_with_known_dates() {
        assert_eq!(&Civil::utc(0).date_time(), b"1970-01-01 00:00:00");
        assert_eq!(&Civil::utc(951_782_400).date_time(), b"2000-02-29 00:00:00");
        assert_eq!(&Civil::utc(1_290_200_191).date_time(), b"2010-11-19 20:56:31");
        assert_eq!(&http_time(1_290_079_655), b"Thu, 18 Nov 2010 11:27:35 GMT");
        assert_eq!(&Civil::utc(-5).date_time(), b"1970-01-01 00:00:00");
    }

    #[test]
    fn cookies_have_short_years_until_2037() {
        let text = |time| {
            let (text, len) = Civil::utc(time).cookie();
            String::from_utf8_lossy(&text[..len]).into_owned()
        };
        assert_eq!(text(1_290_079_655), "Thu, 18-Nov-10 11:27:35 GMT");
        assert_eq!(text(2_169_266_400), "Tue, 28-Sep-2038 06:00:00 GMT");
    }

    #[test]
    fn three_formats_of_http_dates() {
        let time = Some(1_290_079_655);
        assert_eq!(parse_http_time(b"Thu, 18 Nov 2010 11:27:35 GMT"), time);
        assert_eq!(parse_http_time(b"Thursday, 18-Nov-10 11:27:35 GMT"), time);
        assert_eq!(parse_http_time(b"Thu Nov 18 11:27:35 2010"), time);
        assert_eq!(parse_http_time(b"Thu, 31 Nov 2010 11:27:35 GMT"), None);
        assert_eq!(parse_http_time(b"Thu, 18 Nov 2010 24:27:35 GMT"), None);
        assert_eq!(parse_http_time(b"hello"), None);
        assert_eq!(parse_http_time(b""), None);
    }

    #[test]
    fn spans_have_falling_units() {
        assert_eq!(parse_span(b"1h30m", Unit::Seconds), Some(5400));
        assert_eq!(parse_span(b"1m 500ms", Unit::Milliseconds), Some(60_500));
        assert_eq!(parse_span(b"30", Unit::Milliseconds), Some(30_000));
        assert_eq!(parse_span(b"1M", Unit::Milliseconds), None);
        assert_eq!(parse_span(b"1y", Unit::Seconds), Some(31_536_000));
        assert_eq!(parse_span(b"1m1h", Unit::Seconds), None);
        assert_eq!(parse_span(b"1ms", Unit::Seconds), None);
        assert_eq!(parse_span(b"", Unit::Seconds), None);
        assert_eq!(parse_span(b"h", Unit::Seconds), None);
    }
}
