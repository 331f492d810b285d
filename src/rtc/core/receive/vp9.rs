//! VP9's payload descriptor (RFC 9628 §4.2), which says of each packet where in the pyramid of
//! spatial layers it stands.

use super::payload::{Content, RunningNumbers, Spatial};
use super::temporal::{Opening, Temporal};

/// The bits of the first byte.
const PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const LAYER_INDICES: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS_FRAME: u8 = 0x08;
const ENDS_FRAME: u8 = 0x04;
const STRUCTURE: u8 = 0x02;

/// §4.2: a picture is predicted from at most so many.
const MAX_REFERENCES: usize = 3;

/// What forwarding needs of a packet; `None` for nonsense.
pub fn read(payload: &[u8]) -> Option<Content> {
    let descriptor = Descriptor::read(payload)?;
    let has = |bit: u8| descriptor.flags & bit != 0;
    let spatial = descriptor.spatial.unwrap_or(0);
    Some(Content {
        starts_key_frame: !has(INTER_PREDICTED) && has(BEGINS_FRAME) && spatial == 0,
        height_px: None,
        numbers: descriptor.numbers,
        spatial: descriptor.spatial.map(|id| Spatial {
            id,
            starts_picture: has(BEGINS_FRAME) && id == 0,
            ends_frame: has(ENDS_FRAME),
        }),
        temporal: descriptor.temporal,
    })
}

/// The heights of the spatial layers in pixels, the smallest first, where the packet has the
/// scalability structure (§4.2.1) with them.
pub fn heights_px(payload: &[u8]) -> impl Iterator<Item = u16> {
    let structure = Descriptor::read(payload).and_then(|descriptor| {
        let structure = payload.get(descriptor.structure_at?..)?;
        let (first, sizes) = structure.split_first()?;
        let has_sizes = first & 0x10 != 0;
        has_sizes.then(|| (usize::from(first >> 5) + 1, sizes))
    });
    let (count, sizes) = structure.unwrap_or_default();
    let sizes = sizes.as_chunks::<4>().0.iter().take(count);
    sizes.map(|[_, _, high, low]| u16::from_be_bytes([*high, *low]))
}

struct Descriptor {
    flags: u8,
    numbers: RunningNumbers,
    spatial: Option<u8>,
    temporal: Option<Temporal>,
    structure_at: Option<usize>,
}

impl Descriptor {
    fn read(payload: &[u8]) -> Option<Self> {
        let flags = *payload.first()?;
        let has = |bit: u8| flags & bit != 0;
        let mut at = 1;
        let mut numbers = RunningNumbers::default();
        if has(PICTURE_ID) {
            numbers.picture_id_at = at as u8;
            numbers.picture_id_is_long = payload.get(at)? & 0x80 != 0;
            at += 1 + usize::from(numbers.picture_id_is_long);
        }
        let (mut spatial, mut temporal) = (None, None);
        if has(LAYER_INDICES) {
            let indices = *payload.get(at)?;
            spatial = Some(indices >> 1 & 0x07);
            let (id, switches_up) = (indices >> 5, indices & 0x10 != 0);
            let opens = switches_up.then_some(Opening { from: id, to: 7 });
            temporal = Some(Temporal { id, opens });
            at += 1;
            if !has(FLEXIBLE) {
                numbers.tl0_at = at as u8;
                at += 1;
            }
        }
        if has(FLEXIBLE) && has(INTER_PREDICTED) {
            for _ in 0..MAX_REFERENCES {
                let more = payload.get(at)? & 1 != 0;
                at += 1;
                if !more {
                    break;
                }
            }
        }
        // The numbers lie within the payload.
        (at <= payload.len()).then_some(Self {
            flags,
            numbers,
            spatial,
            temporal,
            structure_at: has(STRUCTURE).then_some(at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_starts_in_its_lowest_layer() {
        let starts = |payload: &[u8]| read(payload).expect("VP9").starts_key_frame;
        assert!(starts(&[0x88, 0x05]));
        assert!(!starts(&[0xC8, 0x05]));
        assert!(starts(&[0xA8, 0x85, 0x01, 0x00, 0x00]));
        assert!(!starts(&[0xA8, 0x05, 0x02, 0x00]));
    }

    #[test]
    fn layers_tell_their_place_and_their_heights() {
        // I, L, B, E, V with a long picture id 0x123; temporal layer 0, spatial 0; TL0PICIDX 9.
        let mut key = vec![0xAE, 0x81, 0x23, 0x00, 9];
        // Three layers with sizes, no picture group.
        key.extend([0x50, 1, 64, 0, 180, 2, 128, 1, 104, 5, 0, 2, 208]);
        let content = read(&key).expect("VP9");
        let numbers = RunningNumbers {
            picture_id_at: 1,
            picture_id_is_long: true,
            tl0_at: 4,
            ..RunningNumbers::default()
        };
        assert_eq!(content.numbers, numbers);
        let spatial = Spatial {
            id: 0,
            starts_picture: true,
            ends_frame: true,
        };
        assert_eq!(content.spatial, Some(spatial));
        assert_eq!(heights_px(&key).collect::<Vec<_>>(), [180, 360, 720]);
        // Flexible, predicted from two pictures, of spatial layer 2.
        let upper = [0xF4, 0x05, 0x25, 0x03, 0x04, 0xAA];
        let content = read(&upper).expect("VP9");
        assert_eq!(content.numbers.tl0_at, 0);
        let spatial = content.spatial.expect("its place");
        assert_eq!(
            (spatial.id, spatial.starts_picture, spatial.ends_frame),
            (2, false, true)
        );
        assert_eq!(content.temporal, Some(Temporal { id: 1, opens: None }));
        // After this one those above it need nothing of before.
        let content = read(&[0xF4, 0x05, 0x35, 0x03, 0x04, 0xAA]).expect("VP9");
        let opens = Some(Opening { from: 1, to: 7 });
        assert_eq!(content.temporal, Some(Temporal { id: 1, opens }));
        assert_eq!(heights_px(&upper).count(), 0);
    }
}
