//! One RTP packet as a subscriber gets it: our header, the publisher's payload.

use crate::rtc::core::sink::ColorSpace;

/// RFC 8285 §4.2.
const ONE_BYTE_PROFILE: [u8; 2] = [0xBE, 0xDE];

/// RFC 3550 §5.1, without sources that contribute; RFC 8285's elements follow its own four bytes.
const FIXED: usize = 12;
const FIRST_ELEMENT: usize = FIXED + 4;
/// With all extensions, padded.
const LONGEST: usize = FIRST_ELEMENT + 12;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Extension id and transport-wide sequence number.
    pub transport_cc: Option<(u8, u16)>,
    /// Extension id and value of RFC 6464.
    pub audio_level: Option<(u8, u8)>,
    /// Extension id and value.
    pub color_space: Option<(u8, ColorSpace)>,
}

impl Head {
    /// Appends the header to `packet`; its length.
    pub fn write(&self, packet: &mut Vec<u8>) -> usize {
        let mut header = [0; LONGEST];
        header[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        header[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..FIXED].copy_from_slice(&self.ssrc.to_be_bytes());
        let mut end = FIRST_ELEMENT;
        if let Some((id, number)) = self.transport_cc {
            let [high, low] = number.to_be_bytes();
            header[end..end + 3].copy_from_slice(&[id << 4 | 1, high, low]);
            end += 3;
        }
        if let Some((id, level)) = self.audio_level {
            header[end..end + 2].copy_from_slice(&[id << 4, level]);
            end += 2;
        }
        if let Some((id, colours)) = self.color_space {
            header[end] = id << 4 | (colours.len() as u8 - 1);
            header[end + 1..end + 1 + colours.len()].copy_from_slice(&colours);
            end += 1 + colours.len();
        }
        let extends = end > FIRST_ELEMENT;
        header[0] = 0x80 | u8::from(extends) << 4;
        let len = match extends {
            true => {
                let words = (end - FIRST_ELEMENT).div_ceil(4);
                header[FIXED..FIXED + 2].copy_from_slice(&ONE_BYTE_PROFILE);
                header[FIRST_ELEMENT - 1] = words as u8;
                FIRST_ELEMENT + words * 4
            }
            false => FIXED,
        };
        packet.extend_from_slice(&header[..len]);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::core::receive::rtp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn our_own_parser_reads_it(
            payload_type in 0u8..128, marker: bool, sequence: u16, timestamp: u32, ssrc: u32,
            cc in proptest::option::of((1u8..15, any::<u16>())),
            level in proptest::option::of(any::<u8>()),
            colours in proptest::option::of(any::<ColorSpace>()),
        ) {
            let next = |id: u8| id % 14 + 1;
            let id = cc.map_or(3, |(id, _)| next(id));
            let level = level.map(|level| (id, level));
            let colours = colours.map(|colours| (next(id), colours));
            let head = Head {
                payload_type, marker, sequence, timestamp, ssrc,
                transport_cc: cc, audio_level: level, color_space: colours,
            };
            let mut packet = vec![9, 9];
            let len = head.write(&mut packet);
            let packet = &packet[2..];
            let header = rtp::parse(packet).expect("RTP");
            prop_assert_eq!(header.header_len, len);
            prop_assert_eq!(
                (header.payload_type, header.marker, header.sequence, header.timestamp, header.ssrc),
                (payload_type, marker, sequence, timestamp, ssrc)
            );
            if let Some((id, number)) = cc {
                prop_assert_eq!(header.extension(packet, id), Some(&number.to_be_bytes()[..]));
            }
            if let Some((id, level)) = level {
                prop_assert_eq!(header.extension(packet, id), Some(&[level][..]));
            }
            if let Some((id, colours)) = colours {
                prop_assert_eq!(header.extension(packet, id), Some(&colours[..]));
            }
        }
    }
}
