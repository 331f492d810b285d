//! One RTP packet as a subscriber gets it: our header, the publisher's payload.

/// RFC 8285 §4.2.
const ONE_BYTE_PROFILE: [u8; 2] = [0xBE, 0xDE];

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
}

impl Head {
    /// Appends the header to `packet`; its length.
    pub fn write(&self, packet: &mut Vec<u8>) -> usize {
        let start = packet.len();
        let extends = self.transport_cc.is_some() || self.audio_level.is_some();
        packet.push(0x80 | u8::from(extends) << 4);
        packet.push(u8::from(self.marker) << 7 | self.payload_type & 0x7F);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        if !extends {
            return packet.len() - start;
        }
        packet.extend_from_slice(&ONE_BYTE_PROFILE);
        let words = packet.len();
        packet.extend_from_slice(&[0, 0]);
        let first = packet.len();
        if let Some((id, number)) = self.transport_cc {
            let [high, low] = number.to_be_bytes();
            packet.extend_from_slice(&[id << 4 | 1, high, low]);
        }
        if let Some((id, level)) = self.audio_level {
            packet.extend_from_slice(&[id << 4, level]);
        }
        while !(packet.len() - first).is_multiple_of(4) {
            packet.push(0);
        }
        packet[words + 1] = ((packet.len() - first) / 4) as u8;
        packet.len() - start
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
        ) {
            let level = level.map(|level| (cc.map_or(3, |(id, _)| id % 14 + 1), level));
            let head = Head {
                payload_type, marker, sequence, timestamp, ssrc,
                transport_cc: cc, audio_level: level,
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
        }
    }
}
