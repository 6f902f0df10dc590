//! Dates from seconds since 1970, and `strftime` with the C locale: pure, with the zone given by the caller.

use std::fmt::Write as _;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment on the calendar of one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: usize,
    /// From 1.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// From 0, Sunday.
    pub(crate) weekday: usize,
    /// From 0.
    pub(crate) yearday: i64,
    /// Seconds east of Greenwich.
    pub(crate) offset: i64,
    unix: i64,
}

impl Moment {
    /// The moment `unix` seconds after 1970 began in Greenwich, in a zone `offset` seconds east of it.
    pub(crate) fn new(unix: i64, offset: i64) -> Self {
        let local = unix + offset;
        let days = local.div_euclid(86_400);
        let seconds = local.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        let yearday = days - days_before(year, 1, 1);
        Self {
            year,
            month: month as usize,
            day,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            weekday: (days + 4).rem_euclid(7) as usize,
            yearday,
            offset,
            unix,
        }
    }

    /// The three-letter name of the day.
    pub(crate) fn weekday_abbreviation(&self) -> &'static str {
        DAYS.get(self.weekday).map_or("   ", |name| &name[..3])
    }

    /// The three-letter name of the month.
    pub(crate) fn month_abbreviation(&self) -> &'static str {
        MONTHS.get(self.month - 1).map_or("   ", |name| &name[..3])
    }

    /// What C's `strftime` writes, with `zone` as the zone's name. Unknown conversions are copied.
    pub(crate) fn strftime(&self, format: &str, zone: &str) -> String {
        let mut out = String::with_capacity(format.len() + 16);
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let mut conversion = characters.next();
            while matches!(conversion, Some('E' | 'O')) {
                conversion = characters.next();
            }
            match conversion {
                Some(conversion) => self.convert(&mut out, conversion, zone),
                None => out.push('%'),
            }
        }
        out
    }

    fn convert(&self, out: &mut String, conversion: char, zone: &str) {
        let weekday = DAYS[self.weekday];
        let month = MONTHS[self.month - 1];
        let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        let weekday_number = self.weekday as i64;
        let recursive = match conversion {
            'c' => Some("%a %b %e %H:%M:%S %Y"),
            'D' | 'x' => Some("%m/%d/%y"),
            'F' => Some("%Y-%m-%d"),
            'R' => Some("%H:%M"),
            'r' => Some("%I:%M:%S %p"),
            'T' | 'X' => Some("%H:%M:%S"),
            _ => None,
        };
        if let Some(format) = recursive {
            out.push_str(&self.strftime(format, zone));
            return;
        }
        let written = match conversion {
            'A' => write!(out, "{weekday}"),
            'a' => write!(out, "{}", &weekday[..3]),
            'B' => write!(out, "{month}"),
            'b' | 'h' => write!(out, "{}", &month[..3]),
            'C' => write!(out, "{:02}", self.year.div_euclid(100)),
            'd' => write!(out, "{:02}", self.day),
            'e' => write!(out, "{:2}", self.day),
            'G' => write!(out, "{}", self.iso_week().0),
            'g' => write!(out, "{:02}", self.iso_week().0.rem_euclid(100)),
            'H' => write!(out, "{:02}", self.hour),
            'I' => write!(out, "{hour12:02}"),
            'j' => write!(out, "{:03}", self.yearday + 1),
            'k' => write!(out, "{:2}", self.hour),
            'l' => write!(out, "{hour12:2}"),
            'M' => write!(out, "{:02}", self.minute),
            'm' => write!(out, "{:02}", self.month),
            'n' => writeln!(out),
            'P' => write!(out, "{}", if self.hour < 12 { "am" } else { "pm" }),
            'p' => write!(out, "{}", if self.hour < 12 { "AM" } else { "PM" }),
            'S' => write!(out, "{:02}", self.second),
            's' => write!(out, "{}", self.unix),
            't' => write!(out, "\t"),
            'U' => write!(out, "{:02}", (self.yearday + 7 - weekday_number) / 7),
            'u' => write!(out, "{}", if self.weekday == 0 { 7 } else { self.weekday }),
            'V' => write!(out, "{:02}", self.iso_week().1),
            'W' => write!(out, "{:02}", (self.yearday + 7 - (weekday_number + 6) % 7) / 7),
            'w' => write!(out, "{weekday_number}"),
            'Y' => write!(out, "{}", self.year),
            'y' => write!(out, "{:02}", self.year.rem_euclid(100)),
            'Z' => write!(out, "{zone}"),
            'z' => {
                let minutes = self.offset.abs() / 60;
                let sign = if self.offset < 0 { '-' } else { '+' };
                write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            '%' => write!(out, "%"),
            other => write!(out, "%{other}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }

    /// The year and number of the ISO 8601 week.
    fn iso_week(&self) -> (i64, i64) {
        let monday_based = (self.weekday as i64 + 6) % 7;
        let week = (self.yearday - monday_based + 10) / 7;
        if week < 1 {
            (self.year - 1, weeks_in(self.year - 1))
        } else if week > weeks_in(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, week)
        }
    }
}

/// The value of a date header, in any of the three forms that HTTP knows; seconds since 1970.
pub(crate) fn parse_http_date(text: &[u8]) -> Option<i64> {
    if let Some(seconds) = parse_fixed_date(text) {
        return Some(seconds);
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let [day, name, year, time] = match text.split_once(',') {
        // `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`
        Some((_, rest)) => {
            let mut words = rest.split(|c: char| c.is_ascii_whitespace() || c == '-').filter(|word| !word.is_empty());
            [words.next()?, words.next()?, words.next()?, words.next()?]
        }
        // `Sun Nov  6 08:49:37 1994`
        None => {
            let mut words = text.split_ascii_whitespace().skip(1);
            let [month, day, time, year] = [words.next()?, words.next()?, words.next()?, words.next()?];
            if words.next().is_some() {
                return None;
            }
            [day, month, year, time]
        }
    };
    let day: i64 = day.parse().ok()?;
    let month = MONTHS.iter().position(|month| &month[..3] == name)? as i64 + 1;
    let year: i64 = year.parse().ok()?;
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    let mut clock = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    seconds_at(year, month, day, [hour, minute, second])
}

/// The form that all servers write now: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_fixed_date(text: &[u8]) -> Option<i64> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let marks = [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' '), (19, b':'), (22, b':')];
    if marks.iter().any(|&(at, mark)| text[at] != mark) || !text.ends_with(b" GMT") {
        return None;
    }
    let number = |at: usize| match [text[at], text[at + 1]] {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => None,
    };
    let month = MONTHS.iter().position(|month| month.as_bytes()[..3] == text[8..11])? as i64 + 1;
    seconds_at(number(12)? * 100 + number(14)?, month, number(5)?, [number(17)?, number(20)?, number(23)?])
}

/// The seconds since 1970 of a moment that there is in the calendar.
fn seconds_at(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let days_in_month = days_before(year + month / 12, month % 12 + 1, 1) - days_before(year, month, 1);
    if !(1..=days_in_month).contains(&day)
        || !(0..24).contains(&hour)
        || !(0..60).contains(&minute)
        || !(0..60).contains(&second)
        || !(1970..10_000).contains(&year)
    {
        return None;
    }
    Some(days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn weeks_in(year: i64) -> i64 {
    let first = (days_before(year, 1, 1) + 4).rem_euclid(7);
    let last = (days_before(year + 1, 1, 1) + 3).rem_euclid(7);
    if first == 4 || last == 4 { 53 } else { 52 }
}

/// The proleptic Gregorian date of a day number (0 is 1 January 1970).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a date.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        let text = |unix| Moment::new(unix, 0).strftime("%a, %d %b %Y %H:%M:%S %j", "GMT");
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 001");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 060");
        assert_eq!(text(-1), "Wed, 31 Dec 1969 23:59:59 365");
        assert_eq!(text(4_102_444_800), "Fri, 01 Jan 2100 00:00:00 001");
    }

    #[test]
    fn http_dates_are_read_in_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_http_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in ["", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT"] {
            assert_eq!(parse_http_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn strftime_knows_weeks_zones_and_twelve_hours() {
        let moment = Moment::new(1_609_459_200, 5400);
        assert_eq!(moment.strftime("%G-W%V-%u %I:%M %p %z %Z %q%%", "XYZ"), "2020-W53-5 01:30 AM +0130 XYZ %q%");
        assert_eq!(moment.strftime("%c|%D|%F|%T", ""), "Fri Jan  1 01:30:00 2021|01/01/21|2021-01-01|01:30:00");
    }
}
