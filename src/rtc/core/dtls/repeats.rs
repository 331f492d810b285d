//! Handshake messages that came before, kept from the crate.
//!
//! A peer whose flight was answered by a lost flight repeats its own. `rtc-dtls` 0.21 then stops
//! its retransmission timer (`handshaker::wait`) without sending again, and both sides wait for
//! ever. Without the repeats its timer goes on and heals the loss.

use std::collections::BTreeSet;

const HANDSHAKE_RECORD: u8 = 22;
const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

/// Fragments remembered: a handshake has about ten messages of one or two each.
const MAX_FRAGMENTS: usize = 256;

/// The fragments of one handshake that came: message number, offset and length.
#[derive(Debug, Default)]
pub struct Repeats {
    seen: BTreeSet<(u16, [u8; 3], [u8; 3])>,
}

impl Repeats {
    /// Whether the datagram holds nothing but handshake messages in the clear that came before.
    pub fn is_repeat(&mut self, mut datagram: &[u8]) -> bool {
        let mut repeat = !datagram.is_empty();
        // Each turn takes at least a record header.
        while !datagram.is_empty() {
            let Some(header) = datagram.get(..RECORD_HEADER) else {
                return false;
            };
            let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some(record) = datagram.get(RECORD_HEADER..RECORD_HEADER + len) else {
                return false;
            };
            let in_the_clear = header[0] == HANDSHAKE_RECORD && header[3..5] == [0, 0];
            repeat &= in_the_clear && self.is_repeated_message(record);
            datagram = &datagram[RECORD_HEADER + len..];
        }
        repeat
    }

    fn is_repeated_message(&mut self, record: &[u8]) -> bool {
        let Some(header) = record.get(..HANDSHAKE_HEADER) else {
            return false;
        };
        let number = u16::from_be_bytes([header[4], header[5]]);
        let fragment = (
            number,
            [header[6], header[7], header[8]],
            [header[9], header[10], header[11]],
        );
        let new = self.seen.len() < MAX_FRAGMENTS && self.seen.insert(fragment);
        // The first hello again asks for its HelloVerifyRequest again, which no timer sends
        // (RFC 6347 §4.2.1).
        let latest = self.seen.last().map(|(number, ..)| *number);
        let asks_again = number == 0 && latest == Some(0);
        !(new || asks_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, number: u8, offset: u8) -> Vec<u8> {
        let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 12];
        record.extend_from_slice(&[1, 0, 0, 9, 0, number, 0, 0, offset, 0, 0, 3]);
        record
    }

    fn check(datagrams: &[Vec<u8>], expect: &[bool]) {
        let mut repeats = Repeats::default();
        let got: Vec<bool> = datagrams.iter().map(|d| repeats.is_repeat(d)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn boundaries() {
        let hello = |number| record(22, 0, number, 0);
        // The first hello may be repeated until something follows it.
        check(&[hello(0), hello(0)], &[false, false]);
        check(
            &[hello(0), hello(1), hello(0), hello(1)],
            &[false, false, true, true],
        );
        check(&[hello(1), record(22, 0, 1, 3)], &[false, false]);
        check(&[record(22, 1, 5, 0), record(22, 1, 5, 0)], &[false, false]);
        check(&[record(20, 0, 0, 0), record(20, 0, 0, 0)], &[false, false]);
        let joined = [hello(2), hello(3)].concat();
        check(&[hello(2), joined.clone(), joined], &[false, false, true]);
        check(&[vec![], vec![22; 5]], &[false, false]);
    }
}
