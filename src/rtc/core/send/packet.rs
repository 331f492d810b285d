//! One RTP packet as a subscriber gets it: our header, the publisher's payload.

use std::ops::RangeInclusive;

use crate::rtc::core::receive::dependency::FRAME_NUMBER;
use crate::rtc::core::sink::ColorSpace;

/// RFC 8285 §4.2 and §4.3.
const ONE_BYTE_PROFILE: [u8; 2] = [0xBE, 0xDE];
const TWO_BYTE_PROFILE: [u8; 2] = [0x10, 0x00];

/// No longer value has the one-byte form.
const MAX_ONE_BYTE: usize = 16;

/// RFC 3550 §5.1, without sources that contribute; RFC 8285's elements follow its own four bytes.
const FIXED: usize = 12;
const FIRST_ELEMENT: usize = FIXED + 4;
/// Its number is there, and RFC 8285 §4.3 has a form for it.
const DESCRIPTOR_LEN: RangeInclusive<usize> = FRAME_NUMBER.end..=u8::MAX as usize;

/// With all extensions, of which the last is as long as may be, padded.
const LONGEST: usize = FIRST_ELEMENT + (4 + 3 + 6 + 2 + u8::MAX as usize).next_multiple_of(4);

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
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
    pub dependency_descriptor: Option<DependencyDescriptor<'a>>,
}

/// The publisher's, with the frame's number among ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyDescriptor<'a> {
    /// Of the extension.
    pub id: u8,
    /// Left out where there are too many of them, or too few.
    pub bytes: &'a [u8],
    /// Added to the number, modulo 2^16.
    pub frame_number_offset: u16,
}

impl Head<'_> {
    /// Appends the header to `packet`; its length.
    pub fn write(&self, packet: &mut Vec<u8>) -> usize {
        let descriptor = self.dependency_descriptor;
        let descriptor = descriptor.filter(|of| DESCRIPTOR_LEN.contains(&of.bytes.len()));
        let mut header = Header {
            bytes: [0; LONGEST],
            end: FIRST_ELEMENT,
            is_long: descriptor.is_some_and(|of| of.bytes.len() > MAX_ONE_BYTE),
        };
        if let Some((id, number)) = self.transport_cc {
            header.put(id, &number.to_be_bytes());
        }
        if let Some((id, level)) = self.audio_level {
            header.put(id, &[level]);
        }
        if let Some((id, colours)) = self.color_space {
            header.put(id, &colours);
        }
        if let Some(descriptor) = descriptor {
            let written = header.put(descriptor.id, descriptor.bytes);
            if let Some([high, low]) = written.get_mut(FRAME_NUMBER) {
                let number = u16::from_be_bytes([*high, *low]);
                let number = number.wrapping_add(descriptor.frame_number_offset);
                [*high, *low] = number.to_be_bytes();
            }
        }
        let extends = header.end > FIRST_ELEMENT;
        let profile = match header.is_long {
            true => TWO_BYTE_PROFILE,
            false => ONE_BYTE_PROFILE,
        };
        let Header { mut bytes, end, .. } = header;
        bytes[0] = 0x80 | u8::from(extends) << 4;
        bytes[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..FIXED].copy_from_slice(&self.ssrc.to_be_bytes());
        let len = match extends {
            true => {
                let words = (end - FIRST_ELEMENT).div_ceil(4);
                bytes[FIXED..FIXED + 2].copy_from_slice(&profile);
                bytes[FIRST_ELEMENT - 1] = words as u8;
                FIRST_ELEMENT + words * 4
            }
            false => FIXED,
        };
        packet.extend_from_slice(&bytes[..len]);
        len
    }
}

/// One that is being written.
struct Header {
    bytes: [u8; LONGEST],
    end: usize,
    /// RFC 8285's two-byte form.
    is_long: bool,
}

impl Header {
    /// One element; its value, as it stands in the header.
    fn put(&mut self, id: u8, value: &[u8]) -> &mut [u8] {
        let len = value.len() as u8;
        if self.is_long {
            self.bytes[self.end..self.end + 2].copy_from_slice(&[id, len]);
            self.end += 2;
        } else {
            self.bytes[self.end] = id << 4 | len.wrapping_sub(1) & 0x0F;
            self.end += 1;
        }
        let start = self.end;
        self.end += value.len();
        let place = &mut self.bytes[start..self.end];
        place.copy_from_slice(value);
        place
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
            descriptor in proptest::option::of(proptest::collection::vec(any::<u8>(), 3..255)),
            offset: u16,
        ) {
            let next = |id: u8| id % 14 + 1;
            let id = cc.map_or(3, |(id, _)| next(id));
            let level = level.map(|level| (id, level));
            let colours = colours.map(|colours| (next(id), colours));
            let head = Head {
                payload_type, marker, sequence, timestamp, ssrc,
                transport_cc: cc, audio_level: level, color_space: colours,
                dependency_descriptor: descriptor.as_deref().map(|bytes| DependencyDescriptor {
                    id: next(next(id)),
                    bytes,
                    frame_number_offset: offset,
                }),
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
            if let Some(mut expected) = descriptor {
                let number = u16::from_be_bytes([expected[1], expected[2]]).wrapping_add(offset);
                expected[FRAME_NUMBER].copy_from_slice(&number.to_be_bytes());
                prop_assert_eq!(header.extension(packet, next(next(id))), Some(&expected[..]));
            }
        }
    }
}
