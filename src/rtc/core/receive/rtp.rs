//! An RTP packet's header, parsed once (RFC 3550 §5.1, extensions by RFC 8285).

use std::ops::Range;

/// The fixed header without CSRCs and extension.
const FIXED_LEN: usize = 12;

/// RFC 8285 §4.2 and §4.3: what the first 16 bits of the extension block say about its form.
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// The lower four bits of the two-byte profile belong to the application.
const TWO_BYTE_PROFILE_MASK: u16 = 0xFFF0;

/// Where things are in one packet. The header and its extensions are in the clear under SRTP
/// (RFC 3711 §3.1), so this holds before and after decryption; the padding's length does not.
///
/// Invariants: `header_len` and `extension` lie within the packet it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Bytes before the payload; a multiple of four.
    pub header_len: usize,
    pub padding: bool,
    extension: Option<(u16, Range<usize>)>,
}

/// Reads the header of `packet`; `None` for all that is no RTP packet.
pub fn parse(packet: &[u8]) -> Option<Header> {
    let (&first, &second) = (packet.first()?, packet.get(1)?);
    if first >> 6 != 2 {
        return None;
    }
    let csrcs = usize::from(first & 0x0F);
    let mut header_len = FIXED_LEN + 4 * csrcs;
    if packet.len() < header_len {
        return None;
    }
    let mut extension = None;
    if first & 0x10 != 0 {
        let profile = read_u16(packet, header_len)?;
        let words = usize::from(read_u16(packet, header_len + 2)?);
        let start = header_len + 4;
        header_len = start + 4 * words;
        if packet.len() < header_len {
            return None;
        }
        extension = Some((profile, start..header_len));
    }
    Some(Header {
        payload_type: second & 0x7F,
        marker: second & 0x80 != 0,
        sequence: read_u16(packet, 2)?,
        timestamp: read_u32(packet, 4)?,
        ssrc: read_u32(packet, 8)?,
        header_len,
        padding: first & 0x20 != 0,
        extension,
    })
}

impl Header {
    /// The value of the header extension `id`, from the packet this header was parsed from.
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        packet.get(self.extension_at(packet, id)?)
    }

    /// Where in the packet that value lies.
    pub fn extension_at(&self, packet: &[u8], id: u8) -> Option<Range<usize>> {
        let (profile, range) = self.extension.clone()?;
        let end = range.end;
        let mut rest = packet.get(range)?;
        let two_byte = profile & TWO_BYTE_PROFILE_MASK == TWO_BYTE_PROFILE;
        if !two_byte && profile != ONE_BYTE_PROFILE {
            return None;
        }
        // Each turn takes at least one byte, so this ends.
        while let [first, tail @ ..] = rest {
            if *first == 0 {
                rest = tail;
                continue;
            }
            let (found, len, tail) = if two_byte {
                let (len, tail) = tail.split_first()?;
                (*first, usize::from(*len), tail)
            } else {
                if first >> 4 == 15 {
                    return None;
                }
                (first >> 4, usize::from(first & 0x0F) + 1, tail)
            };
            if found == id {
                let start = end - tail.len();
                return (len <= tail.len()).then_some(start..start + len);
            }
            rest = tail.get(len..)?;
        }
        None
    }

    /// How many bytes of `decrypted` are left without its padding; `None` if the padding's
    /// length is a lie.
    pub fn unpadded_len(&self, decrypted: &[u8]) -> Option<usize> {
        if !self.padding {
            return Some(decrypted.len());
        }
        let padding = usize::from(*decrypted.last()?);
        let len = decrypted.len().checked_sub(padding)?;
        (padding > 0 && len >= self.header_len).then_some(len)
    }
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(extension: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 0xE0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5];
        if !extension.is_empty() {
            packet[0] |= 0x10;
            packet.extend_from_slice(extension);
        }
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn fixed_header() {
        let header = parse(&packet(&[], b"xyz")).unwrap();
        assert_eq!((header.sequence, header.timestamp, header.ssrc), (7, 9, 5));
        assert_eq!((header.payload_type, header.marker), (96, true));
        assert_eq!(header.header_len, 12);
    }

    #[test]
    fn one_byte_extensions_with_padding_between() {
        let packet = packet(&[0xBE, 0xDE, 0, 2, 0x10, b'a', 0, 0x21, 1, 2, 0, 0], b"x");
        let header = parse(&packet).unwrap();
        assert_eq!(header.extension(&packet, 1), Some(&b"a"[..]));
        assert_eq!(header.extension(&packet, 2), Some(&[1, 2][..]));
        assert_eq!(header.extension(&packet, 3), None);
        assert_eq!(header.header_len, 24);
    }

    #[test]
    fn two_byte_extensions() {
        let packet = packet(&[0x10, 0, 0, 2, 1, 0, 20, 3, b'm', b'i', b'd', 0], b"x");
        let header = parse(&packet).unwrap();
        assert_eq!(header.extension(&packet, 1), Some(&b""[..]));
        assert_eq!(header.extension(&packet, 20), Some(&b"mid"[..]));
    }

    #[test]
    fn padding_that_lies() {
        let mut padded = packet(&[], &[1, 2, 0, 2]);
        padded[0] |= 0x20;
        let header = parse(&padded).unwrap();
        assert_eq!(header.unpadded_len(&padded), Some(14));
        *padded.last_mut().unwrap() = 5;
        assert_eq!(header.unpadded_len(&padded), None);
        *padded.last_mut().unwrap() = 0;
        assert_eq!(header.unpadded_len(&padded), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), id in any::<u8>()) {
            if let Some(header) = parse(&bytes) {
                prop_assert!(header.header_len <= bytes.len());
                let _ = header.extension(&bytes, id);
                let _ = header.unpadded_len(&bytes);
            }
        }
    }
}
