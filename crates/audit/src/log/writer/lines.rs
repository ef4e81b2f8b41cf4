//! Lines that were written, one after the other.

use std::iter;

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Each with its newline.
    bytes: Vec<u8>,
    /// Where they end.
    ends: Vec<usize>,
}

impl Lines {
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All after the first `len` bytes, with the newlines.
    pub(super) fn after(&self, len: usize) -> &[u8] {
        self.bytes.get(len..).unwrap_or_default()
    }

    /// The lines without their newlines.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(self.ends.iter().map(|end| end - 1));
        ranges.filter_map(|(start, end)| self.bytes.get(start..end))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_again() {
        let mut lines = Lines::default();
        lines.push(b"one");
        let first = lines.len();
        lines.push(b"");
        lines.push(b"three");
        assert_eq!(lines.after(first), b"\nthree\n");
        let all: Vec<_> = lines.iter().collect();
        assert_eq!(all, [b"one".as_slice(), b"", b"three"]);
        lines.clear();
        assert_eq!((lines.len(), lines.iter().count()), (0, 0));
    }
}
