//! Datagrams on their way out: one buffer, so that a run to one peer is one system call and no
//! packet is an allocation.

use super::ice::Path;

/// What a round of the worker's loop sends, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<Datagram>,
}

/// The place of one datagram; it begins where the one before ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    pub path: Path,
    end: usize,
}

impl Outbox {
    /// Appends what `write` puts at the end of the buffer, if it says so; it is given the buffer
    /// and where its datagram begins.
    pub fn write(&mut self, path: Path, write: impl FnOnce(&mut Vec<u8>, usize) -> bool) -> usize {
        let start = self.bytes.len();
        if !write(&mut self.bytes, start) {
            self.bytes.truncate(start);
            return 0;
        }
        let end = self.bytes.len();
        self.datagrams.push(Datagram { path, end });
        end - start
    }

    pub fn push(&mut self, path: Path, datagram: &[u8]) {
        self.write(path, |bytes, _| {
            bytes.extend_from_slice(datagram);
            true
        });
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Of all datagrams together.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each datagram with its path.
    pub fn iter(&self) -> impl Iterator<Item = (Path, &[u8])> {
        let mut start = 0;
        self.datagrams.iter().map(move |datagram| {
            let bytes = &self.bytes[start..datagram.end];
            start = datagram.end;
            (datagram.path, bytes)
        })
    }

    /// Runs that one GSO call can send: one path, one length, of which the last may be shorter;
    /// at most `max_segments` datagrams and `max_bytes` bytes. `each` gets path, bytes, the
    /// segments' length and their number.
    pub fn runs(
        &self,
        max_segments: usize,
        max_bytes: usize,
        mut each: impl FnMut(Path, &[u8], usize, usize),
    ) {
        let (mut start, mut next) = (0, 0);
        while let Some(first) = self.datagrams.get(next) {
            let len = first.end - start;
            let (mut end, mut count) = (first.end, 1);
            while let Some(more) = self.datagrams.get(next + count) {
                let more_len = more.end - end;
                let fits = count < max_segments && more.end - start <= max_bytes;
                if !fits || more.path != first.path || more_len > len {
                    break;
                }
                end = more.end;
                count += 1;
                if more_len < len {
                    break;
                }
            }
            each(first.path, &self.bytes[start..end], len, count);
            next += count;
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn path(port: u16) -> Path {
        Path::udp(SocketAddr::from(([192, 0, 2, 1], port)), None)
    }

    fn runs_of(datagrams: &[(u16, usize)]) -> Vec<(usize, usize)> {
        let mut outbox = Outbox::default();
        for (port, len) in datagrams {
            outbox.push(path(*port), &vec![0; *len]);
        }
        let mut runs = Vec::new();
        outbox.runs(4, 5000, |_, bytes, len, count| {
            assert!(bytes.len() > len * (count - 1) && bytes.len() <= len * count);
            runs.push((len, count));
        });
        runs
    }

    #[test]
    fn a_run_is_of_one_path_and_one_length() {
        assert_eq!(
            runs_of(&[(1, 9), (1, 9), (1, 5), (1, 9), (2, 9), (2, 10)]),
            [(9, 3), (9, 1), (9, 1), (10, 1)]
        );
        assert_eq!(runs_of(&[(1, 9); 6]), [(9, 4), (9, 2)]);
        assert_eq!(runs_of(&[(1, 2000); 3]), [(2000, 2), (2000, 1)]);
    }

    #[test]
    fn what_is_not_written_leaves_no_trace() {
        let mut outbox = Outbox::default();
        outbox.push(path(1), b"a");
        let len = outbox.write(path(1), |bytes, start| {
            assert_eq!(start, 1);
            bytes.extend_from_slice(b"half");
            false
        });
        assert_eq!(len, 0);
        outbox.push(path(1), b"b");
        let all: Vec<&[u8]> = outbox.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(all, [b"a", b"b"]);
    }
}
