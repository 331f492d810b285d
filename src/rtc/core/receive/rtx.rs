//! Retransmissions undone: the original packet out of its RTX packet (RFC 4588 §4).

use bytes::BytesMut;

use super::rtp::Header;

/// The original sequence number before the original payload.
const OSN_LEN: usize = 2;

/// Rebuilds the original in place, from a decrypted RTX packet without padding.
/// Its header extensions stay: they are those of the retransmission.
///
/// `None` for packets that carry nothing: Chromium's probing sends padding as RTX.
pub fn undo(packet: &mut BytesMut, header: &Header, payload_type: u8, ssrc: u32) -> Option<u16> {
    let payload = packet.get(header.header_len..)?;
    if payload.len() <= OSN_LEN {
        return None;
    }
    let osn = [payload[0], payload[1]];
    packet.copy_within(..header.header_len, OSN_LEN);
    let _ = packet.split_to(OSN_LEN);
    packet[1] = packet[1] & 0x80 | payload_type;
    packet[2..4].copy_from_slice(&osn);
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    Some(u16::from_be_bytes(osn))
}

#[cfg(test)]
mod tests {
    use super::super::rtp;
    use super::*;
    use proptest::prelude::*;

    fn original(sequence: u16, extension: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, 0x80 | 96, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5];
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        if !extension.is_empty() {
            packet[0] |= 0x10;
            packet.extend_from_slice(&[0xBE, 0xDE, 0, (extension.len() / 4) as u8]);
            packet.extend_from_slice(extension);
        }
        packet.extend_from_slice(payload);
        packet
    }

    fn as_rtx(original: &[u8], sequence: u16) -> BytesMut {
        let header = rtp::parse(original).unwrap();
        let mut rtx = BytesMut::from(&original[..header.header_len]);
        rtx.extend_from_slice(&original[2..4]);
        rtx.extend_from_slice(&original[header.header_len..]);
        rtx[1] = rtx[1] & 0x80 | 97;
        rtx[2..4].copy_from_slice(&sequence.to_be_bytes());
        rtx[8..12].copy_from_slice(&9u32.to_be_bytes());
        rtx
    }

    #[test]
    fn probes_carry_nothing() {
        for len in 0..=2 {
            let mut packet = BytesMut::from(&original(5, &[], &vec![0; len])[..]);
            let header = rtp::parse(&packet).unwrap();
            assert_eq!(undo(&mut packet, &header, 96, 5), None);
        }
    }

    proptest! {
        #[test]
        fn gives_back_the_original(
            sequence in any::<u16>(),
            rtx_sequence in any::<u16>(),
            words in 0usize..4,
            payload in proptest::collection::vec(any::<u8>(), 1..50),
        ) {
            let packet = original(sequence, &vec![0; 4 * words], &payload);
            let mut rtx = as_rtx(&packet, rtx_sequence);
            let header = rtp::parse(&rtx).unwrap();
            prop_assert_eq!(undo(&mut rtx, &header, 96, 5), Some(sequence));
            prop_assert_eq!(&rtx[..], &packet[..]);
        }
    }
}
