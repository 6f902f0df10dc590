//! Fields with a name, or with the beginning of one.

use bytes::Bytes;

use crate::http::header::{Header, HeaderList};

/// Changes the first field called `name` and removes the others, or with an empty value all of them; whether there
/// was one. With a prefix, every name that begins with it counts.
pub(super) fn replace(list: &mut HeaderList, name: &[u8], prefix: Option<&[u8]>, value: &Bytes) -> bool {
    let matches = |header: &Header| match prefix {
        Some(prefix) => header.name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)),
        None => header.is(name),
    };
    let mut found = false;
    list.retain(|header| {
        let is_match = matches(header);
        let keep = !is_match || (!found && !value.is_empty());
        found |= is_match;
        keep
    });
    if let Some(header) = list.iter_mut().find(|header| matches(header)) {
        header.value = value.clone();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&'static str, &'static str)]) -> HeaderList {
        let mut list = HeaderList::default();
        for (name, value) in fields {
            list.add(*name, *value);
        }
        list
    }

    fn text(list: &HeaderList) -> String {
        let pieces = list.iter().flat_map(|field| [&field.name[..], b"=", &field.value, b";"]);
        String::from_utf8_lossy(&pieces.collect::<Vec<_>>().concat()).into_owned()
    }

    #[test]
    fn the_first_field_changes_and_the_others_go() {
        let mut fields = list(&[("X-A", "1"), ("Y", "2"), ("x-a", "3")]);
        assert!(replace(&mut fields, b"x-A", None, &Bytes::from_static(b"9")));
        assert_eq!(text(&fields), "X-A=9;Y=2;");
        assert!(!replace(&mut fields, b"Z", None, &Bytes::from_static(b"9")));
        assert!(replace(&mut fields, b"Y", None, &Bytes::new()));
        assert_eq!(text(&fields), "X-A=9;");
    }

    #[test]
    fn a_prefix_names_many() {
        let mut fields = list(&[("X-A", "1"), ("Y", "2"), ("x-b", "3")]);
        assert!(replace(&mut fields, b"X-*", Some(b"X-"), &Bytes::new()));
        assert_eq!(text(&fields), "Y=2;");
    }
}
