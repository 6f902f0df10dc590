//! Variables that a spec file's text holds until the runner replaces them.
//!
//! `$TEST_NGINX_MEMCACHED_PORT` outside a string is no Lua. It is replaced by a number of the same
//! length, so that all other bytes keep their place.

use memchr::memchr_iter;

/// Which variables a text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// The runner's: `$TEST_NGINX_…` and `$ServerPort`.
    Environment,
    /// Perl's as well: the text is the body of a Perl string.
    Perl,
}

/// Replaces the variables in place.
pub(super) fn blank_out(text: &mut [u8], interpolation: Interpolation) {
    let starts: Vec<usize> = memchr_iter(b'$', text).collect();
    for start in starts {
        if let Some(length) = variable(text.get(start..).unwrap_or_default(), interpolation)
            && let Some(place) = text.get_mut(start..start + length)
        {
            // The digits come from the name, its end first, so that different variables are different numbers.
            place.reverse();
            for byte in place {
                *byte = b'1' + *byte % 9;
            }
        }
    }
}

/// Length of the variable that the text starts with.
fn variable(text: &[u8], interpolation: Interpolation) -> Option<usize> {
    let rest = text.get(1..)?;
    let (open, name) = match rest.first()? {
        b'{' | b'(' => (1, rest.get(1..)?),
        _ => (0, rest),
    };
    let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let length = match interpolation {
        Interpolation::Environment => name.iter().take_while(is_word).count(),
        Interpolation::Perl => name.iter().take_while(|byte| is_word(byte) || **byte == b':').count(),
    };
    let known = name.starts_with(b"TEST_NGINX_") || name.get(..length) == Some(b"ServerPort");
    let perl = interpolation == Interpolation::Perl
        && name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b':');
    (length > 0 && (known || perl)).then_some(1 + open * 2 + length).filter(|length| *length <= text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanked(text: &str, interpolation: Interpolation) -> String {
        let mut bytes = text.as_bytes().to_vec();
        blank_out(&mut bytes, interpolation);
        String::from_utf8(bytes).expect("tests use text")
    }

    #[test]
    fn only_the_runners_variables_are_replaced() {
        let text = "a($TEST_NGINX_PORT, $x, '$') $ServerPort $";
        let found = blanked(text, Interpolation::Environment);
        let digits: String = found.chars().map(|c| if c.is_ascii_digit() { '1' } else { c }).collect();
        assert_eq!(digits, "a(1111111111111111, $x, '$') 11111111111 $");
        let (one, two) = ("$TEST_NGINX_PORT_1", "$TEST_NGINX_PORT_2");
        assert_ne!(blanked(one, Interpolation::Environment), blanked(two, Interpolation::Environment));
    }

    #[test]
    fn perl_replaces_all() {
        assert_eq!(blanked("$x", Interpolation::Perl).len(), 2);
        for text in ["${TEST_NGINX_A}", "$a::b"] {
            assert!(blanked(text, Interpolation::Perl).bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        }
    }
}
