//! Blocks of addresses, as `allow`, `geo` and `set_real_ip_from` name them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the length of its network part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    network: IpAddr,
    prefix: u32,
}

/// What a parsed block was: exact, or with bits beyond its prefix that say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostBits {
    Clear,
    Ignored,
}

impl Cidr {
    /// Parses `10.0.0.0/8`, `10.0.0.1`, `10.0.0.0/255.0.0.0` and the IPv6 forms.
    pub(crate) fn parse(text: &[u8]) -> Option<(Self, HostBits)> {
        let text = std::str::from_utf8(text).ok()?;
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix)),
            None => (text.parse().ok()?, None),
        };
        let width = width(address);
        let prefix = match prefix {
            None => width,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|&length| length <= width)?
            }
            Some(mask) => mask_length(mask.parse().ok()?, address)?,
        };
        let network = mask(address, prefix);
        let host_bits = if network == address { HostBits::Clear } else { HostBits::Ignored };
        Some((Self { network, prefix }, host_bits))
    }

    /// The block of one address.
    pub(crate) fn single(address: IpAddr) -> Self {
        Self { network: address, prefix: width(address) }
    }

    /// Whether the address lies in this block. IPv4 addresses mapped into IPv6 count as IPv4.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.network) && mask(address, self.prefix) == self.network
    }

    /// How many leading bits are fixed.
    pub(crate) fn prefix(&self) -> u32 {
        self.prefix
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask_v4(prefix: u32) -> u32 {
    u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
}

fn mask_v6(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

fn mask(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask_v4(prefix))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask_v6(prefix))),
    }
}

fn mask_length(mask: IpAddr, address: IpAddr) -> Option<u32> {
    match (mask, address) {
        (IpAddr::V4(mask), IpAddr::V4(_)) => {
            let bits = u32::from(mask);
            (bits.leading_ones() + bits.trailing_zeros() == 32 || bits == 0).then_some(bits.leading_ones())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Cidr {
        Cidr::parse(text.as_bytes()).expect("a valid block").0
    }

    #[test]
    fn blocks_contain_their_addresses_only() {
        let ten = block("10.0.0.0/8");
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(ten.contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("::1".parse().unwrap()));
        assert!(block("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()));
        assert!(block("2001:db8::/32").contains("2001:db8:1::1".parse().unwrap()));
        assert_eq!(block("192.168.0.0/255.255.0.0"), block("192.168.0.0/16"));
    }

    #[test]
    fn host_bits_are_reported_and_nonsense_is_rejected() {
        assert_eq!(Cidr::parse(b"10.0.0.1/8").map(|parsed| parsed.1), Some(HostBits::Ignored));
        assert_eq!(Cidr::parse(b"10.0.0.1").map(|parsed| parsed.1), Some(HostBits::Clear));
        for bad in ["10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/255.0.255.0", "all"] {
            assert_eq!(Cidr::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
