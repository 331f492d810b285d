//! A ClientHello in fragments, held until its use_srtp can be read (RFC 6347 §4.2.3,
//! RFC 5764 §4.1.1). Chromium's comes in two datagrams.

/// The longest hello: post-quantum key shares make it two kilobytes.
const MAX_HELLO: usize = 8 * 1024;

/// The most datagrams held: the fragments, and the client's repeats of them.
const MAX_HELD: usize = 24;

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;

const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

/// Collects the datagrams of the first flight.
#[derive(Debug, Default)]
pub struct HelloBuffer {
    held: Vec<Vec<u8>>,
    body: Vec<u8>,
    present: Vec<bool>,
}

impl HelloBuffer {
    /// Takes a datagram. `Some`, the offered SRTP profiles in the client's order, once the
    /// hello is complete; empty if it offers none.
    pub fn push(&mut self, datagram: &[u8]) -> Option<Vec<u16>> {
        if self.held.len() == MAX_HELD {
            return None;
        }
        if !self.take_records(datagram) {
            return None;
        }
        self.held.push(datagram.to_vec());
        let complete = !self.present.is_empty() && self.present.iter().all(|present| *present);
        complete.then(|| profiles(&self.body).unwrap_or_default())
    }

    /// What was held, to be read again.
    pub fn into_datagrams(self) -> Vec<Vec<u8>> {
        self.held
    }

    /// Whether the datagram held a fragment of a hello.
    fn take_records(&mut self, mut datagram: &[u8]) -> bool {
        let mut found = false;
        // Each turn takes at least a record header.
        while let Some(header) = datagram.get(..RECORD_HEADER) {
            let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some(record) = datagram.get(RECORD_HEADER..RECORD_HEADER + len) else {
                break;
            };
            let epoch_zero = header[3..5] == [0, 0];
            if header[0] == HANDSHAKE_RECORD && epoch_zero {
                found |= self.take_fragment(record).is_some();
            }
            datagram = &datagram[RECORD_HEADER + len..];
        }
        found
    }

    fn take_fragment(&mut self, record: &[u8]) -> Option<()> {
        let header = record.get(..HANDSHAKE_HEADER)?;
        let len = u24(&header[1..4]);
        let (start, fragment_len) = (u24(&header[6..9]), u24(&header[9..12]));
        let fragment = record.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + fragment_len)?;
        if header[0] != CLIENT_HELLO || len > MAX_HELLO || start + fragment_len > len {
            return None;
        }
        if self.body.len() != len {
            self.body = vec![0; len];
            self.present = vec![false; len];
        }
        self.body[start..start + fragment_len].copy_from_slice(fragment);
        self.present[start..start + fragment_len].fill(true);
        Some(())
    }
}

/// The profiles in a ClientHello's use_srtp (RFC 5246 §7.4.1.2 with RFC 6347's cookie).
fn profiles(body: &[u8]) -> Option<Vec<u16>> {
    let mut rest = body.get(2 + 32..)?;
    take_vector(&mut rest, 1)?; // session id
    take_vector(&mut rest, 1)?; // cookie
    take_vector(&mut rest, 2)?; // cipher suites
    take_vector(&mut rest, 1)?; // compression methods
    let mut extensions = take_vector(&mut rest, 2)?;
    while let [high, low, ..] = *extensions {
        extensions = &extensions[2..];
        let mut value = take_vector(&mut extensions, 2)?;
        if u16::from_be_bytes([high, low]) == USE_SRTP {
            let (pairs, _) = take_vector(&mut value, 2)?.as_chunks::<2>();
            return Some(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect());
        }
    }
    None
}

/// A vector with a length of `size` bytes before it.
fn take_vector<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let prefix = rest.get(..size)?;
    let len = prefix
        .iter()
        .fold(0, |len, byte| len << 8 | usize::from(*byte));
    let value = rest.get(size..size + len)?;
    *rest = &rest[size + len..];
    Some(value)
}

fn u24(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(3)
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(profiles: &[u16]) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend_from_slice(&[9; 32]);
        body.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0, 0, 14];
        let list: Vec<u8> = profiles.iter().flat_map(|p| p.to_be_bytes()).collect();
        extensions.extend_from_slice(&(list.len() as u16 + 3).to_be_bytes());
        extensions.extend_from_slice(&(list.len() as u16).to_be_bytes());
        extensions.extend_from_slice(&list);
        extensions.push(0);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    }

    fn datagram(body: &[u8], start: usize, end: usize) -> Vec<u8> {
        let u24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
        let mut handshake = vec![CLIENT_HELLO];
        handshake.extend(u24(body.len()));
        handshake.extend([0, 0]);
        handshake.extend(u24(start));
        handshake.extend(u24(end - start));
        handshake.extend_from_slice(&body[start..end]);
        let mut record = vec![HANDSHAKE_RECORD, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend_from_slice(&(handshake.len() as u16).to_be_bytes());
        record.extend(handshake);
        record
    }

    proptest! {
        #[test]
        fn fragments_in_any_order_and_repeated(cut in 1usize..60, order in any::<[bool; 3]>()) {
            let body = body(&[1, 8, 7]);
            let parts = [datagram(&body, 0, cut), datagram(&body, cut, body.len())];
            let mut buffer = HelloBuffer::default();
            let first = usize::from(order[0]);
            prop_assert_eq!(buffer.push(&parts[first]), None);
            if order[1] {
                prop_assert_eq!(buffer.push(&parts[first]), None);
            }
            prop_assert_eq!(buffer.push(&parts[1 - first]), Some(vec![1, 8, 7]));
            prop_assert_eq!(buffer.into_datagrams().len(), 2 + usize::from(order[1]));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), shaped in any::<bool>()) {
            let mut buffer = HelloBuffer::default();
            if shaped {
                buffer.push(&datagram(&bytes, 0, bytes.len()));
            } else {
                buffer.push(&bytes);
            }
        }
    }

    #[test]
    fn other_datagrams_are_not_held() {
        let mut buffer = HelloBuffer::default();
        assert_eq!(buffer.push(&[22; 40]), None);
        assert_eq!(buffer.push(b""), None);
        assert!(buffer.into_datagrams().is_empty());
    }
}
