//! The list of founders, as nodes compare it.

/// Names and addresses as one text: `id@addr`, sorted. The same on every founder.
pub fn list(founders: &[(String, String)]) -> String {
    let mut list: Vec<String> =
        founders.iter().map(|(name, address)| format!("{name}@{address}")).collect();
    list.sort_unstable();
    list.join(",")
}

/// FNV-1a: it tells lists apart, it proves nothing.
pub fn fingerprint(list: &str) -> u64 {
    list.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
