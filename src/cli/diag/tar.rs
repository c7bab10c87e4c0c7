//! A tar archive (POSIX ustar) of small files, in memory: a header of 512 bytes before each, padding after it. No I/O.

/// All comes in blocks of this size.
const BLOCK: usize = 512;
/// Bytes of a name.
const NAME_MAX: usize = 100;

/// Files one after the other.
#[derive(Debug, Default)]
pub(super) struct Archive(Vec<u8>);

impl Archive {
    /// Adds a file, last changed at `seconds` since 1970. Names longer than 100 bytes are cut.
    pub(super) fn add(&mut self, name: &str, content: &[u8], seconds: u64) {
        let mut header = [0; BLOCK];
        let name = name.as_bytes();
        let name = name.get(..NAME_MAX).unwrap_or(name);
        put(&mut header, 0, name);
        put(&mut header, 100, b"0000600\0"); // mode
        put(&mut header, 108, b"0000000\0"); // owner
        put(&mut header, 116, b"0000000\0"); // group
        put(
            &mut header,
            124,
            format!("{:011o}\0", content.len()).as_bytes(),
        );
        put(&mut header, 136, format!("{seconds:011o}\0").as_bytes());
        put(&mut header, 148, b"        "); // the sum is made with blanks in its own place
        put(&mut header, 156, b"0"); // a plain file
        put(&mut header, 257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(content);
        self.pad();
    }

    /// All of it, with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, field: &[u8]) {
    if let Some(place) = header.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_behind_its_header() {
        let mut archive = Archive::default();
        archive.add("a/b.txt", b"hello", 1_800_000_000);
        archive.add(&"x".repeat(200), &[b'y'; BLOCK], 0);
        let bytes = archive.finish();
        assert_eq!(bytes.len(), 6 * BLOCK);
        assert_eq!(&bytes[..8], b"a/b.txt\0");
        assert_eq!(&bytes[124..136], b"00000000005\0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[BLOCK..BLOCK + 6], b"hello\0");
        let mut header = bytes[..BLOCK].to_vec();
        let told = u32::from_str_radix(str::from_utf8(&header[148..154]).unwrap(), 8).unwrap();
        header[148..156].fill(b' ');
        assert_eq!(
            told,
            header.iter().map(|byte| u32::from(*byte)).sum::<u32>()
        );
        assert_eq!(&bytes[2 * BLOCK..2 * BLOCK + 100], [b'x'; 100]);
        assert_eq!(
            &bytes[2 * BLOCK + 100..2 * BLOCK + 108],
            b"0000600\0",
            "a name may fill its field"
        );
        assert!(bytes[4 * BLOCK..].iter().all(|byte| *byte == 0));
    }
}
