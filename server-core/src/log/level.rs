//! The severities of the error log.

/// A severity, from worst to chattiest. The order is nginx's; a log of level `L` writes all levels up to `L`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Written to the terminal whatever the configuration says (`ngx.STDERR`).
    Stderr = 0,
    /// The server can't run.
    Emerg = 1,
    /// Something that an operator must look at now.
    Alert = 2,
    /// Critical.
    Crit = 3,
    /// A request or an operation failed.
    #[default]
    Error = 4,
    /// Suspicious, but the work went on.
    Warn = 5,
    /// Worth knowing.
    Notice = 6,
    /// What clients and peers did.
    Info = 7,
    /// How the server works.
    Debug = 8,
}

impl Level {
    /// The names, in order.
    pub const NAMES: [&'static str; 9] =
        ["stderr", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

    /// The word between the brackets of a line. The level `stderr` has none, as in nginx.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stderr => "",
            other => Self::NAMES[other as usize],
        }
    }

    /// The level with nginx's number (`ngx.ERR` is 4).
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Stderr,
            1 => Self::Emerg,
            2 => Self::Alert,
            3 => Self::Crit,
            4 => Self::Error,
            5 => Self::Warn,
            6 => Self::Notice,
            7 => Self::Info,
            8 => Self::Debug,
            _ => return None,
        })
    }

    /// The level of an `error_log` directive's word. `stderr` is not one.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let index = Self::NAMES.iter().skip(1).position(|name| name.as_bytes() == word)?;
        Self::from_number(index as u8 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_agree_with_nginx() {
        assert_eq!(Level::from_word(b"emerg"), Some(Level::Emerg));
        assert_eq!(Level::from_word(b"debug"), Some(Level::Debug));
        assert_eq!(Level::from_word(b"stderr"), None);
        assert_eq!(Level::from_word(b"Debug"), None);
        assert_eq!(Level::from_number(4), Some(Level::Error));
        assert_eq!(Level::from_number(9), None);
        assert!(Level::Emerg < Level::Debug);
    }
}
