//! The hosts file of `resolver local=on`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

/// Names in lower case with their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads a hosts file.
    pub(super) fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self::parse(&String::from_utf8_lossy(&std::fs::read(path)?)))
    }

    /// Lines `ADDRESS NAME…`; `#` begins a comment; other lines are ignored.
    fn parse(text: &str) -> Self {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
            for name in words {
                names.entry(name.to_ascii_lowercase()).or_default().push(address);
            }
        }
        Self(names)
    }

    /// The addresses of a name in lower case, of the families asked for.
    pub(super) fn find(&self, name: &str, ipv4: bool, ipv6: bool) -> Vec<IpAddr> {
        let addresses = self.0.get(name).map_or(&[][..], Vec::as_slice);
        addresses.iter().copied().filter(|address| if address.is_ipv4() { ipv4 } else { ipv6 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_wanted_families_are_found() {
        let hosts = Hosts::parse("127.0.0.1 localhost Here # comment\n::1 localhost\nbroken line\n");
        assert_eq!(hosts.find("localhost", true, true).len(), 2);
        assert_eq!(hosts.find("localhost", true, false), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(hosts.find("here", true, true).len(), 1);
        assert!(hosts.find("comment", true, true).is_empty());
    }
}
