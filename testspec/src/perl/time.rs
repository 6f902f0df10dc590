//! Calendar times: `localtime`, `gmtime`, `strftime`.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time split as C's `struct tm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calendar {
    pub second: i64,
    pub minute: i64,
    pub hour: i64,
    pub day: i64,
    pub month: i64,
    pub year: i64,
    pub weekday: i64,
    pub yearday: i64,
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The calendar time in UTC.
pub(crate) fn utc(seconds: i64) -> Calendar {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1 March of year 0 of the era, after Howard Hinnant's civil calendar.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 2 } else { month_from_march - 10 };
    let year = year_of_era + era * 400 + i64::from(month <= 1);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let yearday = before[month as usize] + day - 1 + i64::from(leap && month > 1);
    Calendar {
        second: rest % 60,
        minute: rest / 60 % 60,
        hour: rest / 3600,
        day,
        month,
        year: year - 1900,
        weekday: (days + 4).rem_euclid(7),
        yearday,
    }
}

/// The calendar time in the zone of the machine; zones other than UTC are taken from `TZ`'s fixed
/// offset only, since specs compare such times with a server in the same zone.
pub(crate) fn local(seconds: i64) -> Calendar {
    utc(seconds + local_offset())
}

/// Seconds east of UTC, from a `TZ` such as `UTC-8` or `<+08>-8`.
fn local_offset() -> i64 {
    let zone = std::env::var("TZ").unwrap_or_default();
    let digits = zone.rfind(|c: char| !c.is_ascii_digit()).map_or("", |at| zone.get(at..).unwrap_or_default());
    let hours: i64 = digits.trim_start_matches(['+', '-']).parse().unwrap_or(0);
    if digits.starts_with('-') { hours * 3600 } else { -hours * 3600 }
}

impl Calendar {
    /// The nine values of `localtime`.
    pub(crate) fn fields(self) -> [i64; 9] {
        [self.second, self.minute, self.hour, self.day, self.month, self.year, self.weekday, self.yearday, 0]
    }

    /// `Thu Sep  9 01:46:40 1999`.
    pub(crate) fn to_text(self) -> String {
        self.format(b"%a %b %e %H:%M:%S %Y")
    }

    /// `strftime`.
    pub(crate) fn format(self, template: &[u8]) -> String {
        let mut out = String::new();
        let mut bytes = template.iter().copied();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                out.push(char::from(byte));
                continue;
            }
            let Some(letter) = bytes.next() else {
                out.push('%');
                break;
            };
            let weekday = WEEKDAYS.get(self.weekday as usize).copied().unwrap_or_default();
            let month = MONTHS.get(self.month as usize).copied().unwrap_or_default();
            let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
            let text = match letter {
                b'a' => weekday.get(..3).unwrap_or_default().to_owned(),
                b'A' => weekday.to_owned(),
                b'b' | b'h' => month.get(..3).unwrap_or_default().to_owned(),
                b'B' => month.to_owned(),
                b'c' => self.format(b"%a %b %e %H:%M:%S %Y"),
                b'C' => format!("{:02}", (self.year + 1900) / 100),
                b'd' => format!("{:02}", self.day),
                b'D' => self.format(b"%m/%d/%y"),
                b'e' => format!("{:2}", self.day),
                b'F' => self.format(b"%Y-%m-%d"),
                b'H' => format!("{:02}", self.hour),
                b'I' => format!("{hour12:02}"),
                b'j' => format!("{:03}", self.yearday + 1),
                b'm' => format!("{:02}", self.month + 1),
                b'M' => format!("{:02}", self.minute),
                b'n' => "\n".to_owned(),
                b'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
                b'r' => self.format(b"%I:%M:%S %p"),
                b'R' => self.format(b"%H:%M"),
                b'S' => format!("{:02}", self.second),
                b't' => "\t".to_owned(),
                b'T' | b'X' => self.format(b"%H:%M:%S"),
                b'u' => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
                b'w' => self.weekday.to_string(),
                b'x' => self.format(b"%m/%d/%y"),
                b'y' => format!("{:02}", self.year.rem_euclid(100)),
                b'Y' => (self.year + 1900).to_string(),
                b'z' => "+0000".to_owned(),
                b'Z' => "UTC".to_owned(),
                b'%' => "%".to_owned(),
                other => format!("%{}", char::from(other)),
            };
            out.push_str(&text);
        }
        out
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_agrees_with_known_dates() {
        for (seconds, text) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (1_700_000_000, "Tue Nov 14 22:13:20 2023"),
            (-1, "Wed Dec 31 23:59:59 1969"),
        ] {
            assert_eq!(utc(seconds).to_text(), text);
        }
        assert_eq!(utc(951_782_400).yearday, 59);
        assert_eq!(utc(1_704_067_199).format(b"%F %j %y"), "2023-12-31 365 23");
    }
}
