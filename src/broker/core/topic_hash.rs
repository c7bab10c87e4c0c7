//! The hash of what is remembered by topic: `recent` filters and `lanes`. A fast one without a key: whoever chooses topics that
//! share a place makes them be looked up the long way, and no more.

/// Of a topic, beside a number that is part of what is remembered.
pub(super) fn hash(number: u64, topic: &[u8]) -> u64 {
    let mix =
        |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (words, rest) = topic.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    // The last eight bytes again, so that the rest is no loop; shorter topics have no eight.
    let last = topic.last_chunk::<8>().map_or_else(
        || {
            let bytes = rest.iter();
            bytes.fold(1, |word, &byte| word << 8 | u64::from(byte))
        },
        |last| u64::from_le_bytes(*last),
    );
    mix(mix(words.fold(number, mix), last), topic.len() as u64)
}

/// The place of a hash among `places`, a power of two and at most 65536. The high bits are the well mixed ones.
pub(super) fn place_of(hash: u64, places: usize) -> usize {
    usize::try_from(hash >> 48).unwrap_or_default() & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_every_length_are_told_apart() {
        let all: Vec<Vec<u8>> = (0..40).map(|len| vec![b'a'; len]).collect();
        let mut hashes: Vec<u64> = all.iter().map(|topic| hash(3, topic)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all.len());
    }
}
