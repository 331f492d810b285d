//! What a packet's payload says of its frame, read once: where a decoder can start, how large
//! the picture is, and the numbers that forwarding must rewrite.

use std::num::NonZeroU16;

use super::temporal::{Opening, Temporal};
use crate::room::Codec;

/// RFC 6184 §5.2 and §5.4.
const H264_IDR: u8 = 5;
const H264_SPS: u8 = 7;
const H264_STAP_A: u8 = 24;
const H264_FU_A: u8 = 28;

/// The picture's height, where the payload says it.
pub type HeightPx = NonZeroU16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// A decoder can start with this packet: the first of a key frame, or any sound.
    pub starts_key_frame: bool,
    pub height_px: Option<HeightPx>,
    pub numbers: RunningNumbers,
    /// Of a source that comes in spatial layers (SVC).
    pub spatial: Option<Spatial>,
    /// Of a source that says so.
    pub temporal: Option<Temporal>,
}

/// Where VP8's and VP9's running numbers stand in the payload (RFC 7741 §4.2, RFC 9628 §4.2); 0
/// is nowhere, for the descriptor's first byte is never one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunningNumbers {
    pub picture_id_at: u8,
    /// 15 bits, or 7.
    pub picture_id_is_long: bool,
    pub tl0_at: u8,
    /// Players take a gap between picture ids for a loss, and wait (VP8). Otherwise pictures name
    /// those that they need, by how far back their ids are, and no id may be moved.
    pub picture_ids_are_gapless: bool,
}

/// Which spatial layer of a picture a packet belongs to. All layers of a source share its SSRC
/// and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spatial {
    /// 0 is the lowest, which stands alone.
    pub id: u8,
    /// The first packet of the picture's lowest layer.
    pub starts_picture: bool,
    /// The last packet of this layer of the picture.
    pub ends_frame: bool,
}

impl Content {
    /// Reads the payload of one packet. Nonsense is a packet that starts nothing.
    pub fn read(codec: Codec, payload: &[u8]) -> Self {
        match codec {
            Codec::Opus => Self {
                starts_key_frame: !payload.is_empty(),
                ..Self::default()
            },
            Codec::H264 => h264(payload),
            Codec::Vp8 => vp8(payload).unwrap_or_default(),
            Codec::Vp9 => super::vp9::read(payload).unwrap_or_default(),
            // The AV1 RTP specification §4.4: N, the first packet of a coded video sequence.
            Codec::Av1 => Self {
                starts_key_frame: payload.first().is_some_and(|first| first & 0x08 != 0),
                ..Self::default()
            },
        }
    }
}

/// Encoders put the parameter sets before each IDR picture, so the SPS is where it starts. What is
/// no reference (`nal_ref_idc` 0, ITU-T H.264 §7.4.1) is a temporal layer that nothing needs, and
/// that needs nothing of itself.
fn h264(payload: &[u8]) -> Content {
    let nal = |unit: &[u8]| unit.first().map(|first| first & 0x1F);
    let mut content = Content {
        temporal: payload.first().map(|first| Temporal {
            id: u8::from(first & 0x60 == 0),
            opens: Some(Opening { from: 0, to: 1 }),
        }),
        ..Content::default()
    };
    match nal(payload) {
        Some(H264_STAP_A) => {
            let mut rest = &payload[1..];
            while let [high, low, tail @ ..] = rest {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                let Some((unit, after)) = tail.split_at_checked(len) else {
                    break;
                };
                content.starts_key_frame |= matches!(nal(unit), Some(H264_SPS | H264_IDR));
                if nal(unit) == Some(H264_SPS) {
                    content.height_px = super::sps::height_px(unit);
                }
                rest = after;
            }
        }
        Some(H264_FU_A) => {
            let fragment = payload.get(1).copied().unwrap_or(0);
            content.starts_key_frame =
                fragment & 0x80 != 0 && matches!(fragment & 0x1F, H264_SPS | H264_IDR);
        }
        Some(H264_SPS) => {
            content.starts_key_frame = true;
            content.height_px = super::sps::height_px(payload);
        }
        Some(H264_IDR) => content.starts_key_frame = true,
        _ => {}
    }
    content
}

/// RFC 7741 §4.2 and §4.3.
fn vp8(payload: &[u8]) -> Option<Content> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut numbers = RunningNumbers {
        picture_ids_are_gapless: true,
        ..RunningNumbers::default()
    };
    let mut temporal = None;
    if first & 0x80 != 0 {
        let extensions = *payload.get(at)?;
        at += 1;
        if extensions & 0x80 != 0 {
            numbers.picture_id_at = at as u8;
            numbers.picture_id_is_long = payload.get(at)? & 0x80 != 0;
            at += 1 + usize::from(numbers.picture_id_is_long);
        }
        if extensions & 0x40 != 0 {
            numbers.tl0_at = at as u8;
            at += 1;
        }
        if extensions & 0x20 != 0 {
            let byte = *payload.get(at)?;
            let (id, needs_lowest_alone) = (byte >> 6, byte & 0x20 != 0);
            let opens = needs_lowest_alone.then(|| Opening {
                from: id.saturating_sub(1),
                to: id,
            });
            temporal = Some(Temporal { id, opens });
        }
        at += usize::from(extensions & 0x30 != 0);
    }
    if payload.len() < at {
        return None;
    }
    let starts_partition_0 = first & 0x10 != 0 && first & 0x07 == 0;
    let frame = &payload[at..];
    let starts_key_frame = starts_partition_0 && frame.first().is_some_and(|tag| tag & 1 == 0);
    // RFC 6386 §9.1: after the tag and the start code.
    let height_px = match frame {
        [_, _, _, 0x9D, 0x01, 0x2A, _, _, low, high, ..] if starts_key_frame => {
            HeightPx::new(u16::from_le_bytes([*low, *high]) & 0x3FFF)
        }
        _ => None,
    };
    Some(Content {
        starts_key_frame,
        height_px,
        numbers,
        spatial: None,
        temporal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(codec: Codec, payload: &[u8]) -> bool {
        Content::read(codec, payload).starts_key_frame
    }

    #[test]
    fn h264_starts_with_its_parameter_sets() {
        let check = |payload: &[u8], expect| assert_eq!(starts(Codec::H264, payload), expect);
        check(&[0x67, 0x42], true);
        check(&[0x65, 1], true);
        check(&[0x61, 1], false);
        check(&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68], true);
        check(&[0x78, 0, 2, 0x61, 1, 0, 9, 0x67], false);
        check(&[0x7C, 0x85, 1], true);
        check(&[0x7C, 0x05, 1], false);
        check(&[], false);
    }

    #[test]
    fn vp8_tells_its_size_and_where_its_numbers_are() {
        // X, I with 15 bits, L, T; then a key frame of 640x360.
        let payload = [
            0x90, 0xE0, 0x81, 0x23, 7, 0x20, 0x10, 2, 0, 0x9D, 1, 0x2A, 0x80, 2, 0x68, 1,
        ];
        let content = Content::read(Codec::Vp8, &payload);
        assert!(content.starts_key_frame);
        assert_eq!(content.height_px, HeightPx::new(360));
        let numbers = RunningNumbers {
            picture_id_at: 2,
            picture_id_is_long: true,
            tl0_at: 4,
            picture_ids_are_gapless: true,
        };
        assert_eq!(content.numbers, numbers);
        let mut later = payload;
        later[0] = 0x80;
        assert!(!starts(Codec::Vp8, &later));
        assert!(!starts(Codec::Vp8, &[0x10, 0x01]));
        assert!(starts(Codec::Vp8, &[0x10, 0x00]));
    }

    #[test]
    fn nothing_needs_what_is_no_reference_of_h264() {
        let id = |payload: &[u8]| Content::read(Codec::H264, payload).temporal.map(|of| of.id);
        assert_eq!(id(&[0x41, 1]), Some(0));
        assert_eq!(id(&[0x01, 1]), Some(1));
        // As its fragments, and what is aggregated with it, say.
        assert_eq!(id(&[0x1C, 0x81, 1]), Some(1));
        assert_eq!(id(&[0x38, 0, 2, 0x21, 1]), Some(0));
        assert_eq!(id(&[]), None);
    }

    #[test]
    fn vp8_tells_its_temporal_layer() {
        let read = |extensions, byte| {
            // No picture id: what follows the extensions' byte is the index of the lowest layer.
            let payload = [0x90, extensions, 7, byte, 0x01];
            Content::read(Codec::Vp8, &payload).temporal
        };
        assert_eq!(read(0x40, 0x40), None, "an index alone");
        assert_eq!(read(0x60, 0x40), Some(Temporal { id: 1, opens: None }));
        let opens = Some(Opening { from: 1, to: 2 });
        assert_eq!(read(0x60, 0xA0), Some(Temporal { id: 2, opens }));
    }

    proptest! {
        /// No payload panics, and the numbers lie within it.
        #[test]
        fn survives(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            for codec in [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus] {
                let numbers = Content::read(codec, &payload).numbers;
                let picture_id_end = usize::from(numbers.picture_id_at) + usize::from(numbers.picture_id_is_long);
                prop_assert!(numbers.picture_id_at == 0 || picture_id_end < payload.len());
                prop_assert!(numbers.tl0_at == 0 || usize::from(numbers.tl0_at) < payload.len());
            }
        }
    }
}
