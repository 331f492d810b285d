//! The decoder's parameters in an init segment: whether they changed, and how they go in-band.

use crate::hls::core::codecs::decoder_config;

/// The box that holds them, with its header: `avcC`, `hvcC`, `av1C` or `esds`. Of the last only what
/// a decoder must know: the bitrates beside it are as measured so far.
pub fn decoder_parameters(init: &[u8]) -> Option<&[u8]> {
    const NAMES: [&[u8; 4]; 4] = [b"avcC", b"hvcC", b"av1C", b"esds"];
    let name_at = init
        .windows(4)
        .position(|window| NAMES.iter().any(|name| window == *name))?;
    let start = name_at.checked_sub(4)?;
    let length = u32::from_be_bytes(init[start..name_at].try_into().ok()?);
    let found = init.get(start..start.checked_add(usize::try_from(length).ok()?)?)?;
    let audio = found.get(12..).filter(|_| found.get(4..8) == Some(b"esds"));
    let audio = audio.and_then(decoder_config);
    Some(audio.map_or(found, |(_, specific)| specific))
}

/// H.264's parameter sets in a box `avcC`, as they stand before a picture: each after its length, in
/// so many bytes (ISO/IEC 14496-15 §5.3.3.1).
pub fn in_band(avcc: &[u8]) -> Option<(Vec<u8>, u8)> {
    let record = avcc.strip_prefix(avcc.get(..4)?)?.strip_prefix(b"avcC")?;
    let length_bytes = (record.get(4)? & 3) + 1;
    let mut sets = Vec::new();
    let mut rest = record.get(5..)?;
    for mask in [0x1F, 0xFF] {
        let (count, after) = rest.split_first()?;
        rest = after;
        for _ in 0..count & mask {
            let length = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
            let (set, after) = rest.get(2..)?.split_at_checked(usize::from(length))?;
            rest = after;
            let word = u32::from(length).to_be_bytes();
            sets.extend_from_slice(&word[4 - usize::from(length_bytes)..]);
            sets.extend_from_slice(set);
        }
    }
    Some((sets, length_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(init: &[u8], expect: Option<&[u8]>) {
        assert_eq!(decoder_parameters(init), expect, "{init:?}");
    }

    #[test]
    fn parameter_sets_go_in_band() {
        let avcc = b"\0\0\0\x15avcC\x01\x42\xc0\x1f\xff\xe1\0\x02\x67\x42\x01\0\x01\x68";
        let sets = b"\0\0\0\x02\x67\x42\0\0\0\x01\x68";
        assert_eq!(in_band(avcc), Some((sets.to_vec(), 4)));
        for end in 0..avcc.len() {
            assert_eq!(in_band(&avcc[..end]), None);
        }
        assert_eq!(in_band(b"\0\0\0\x08esds"), None);
    }

    #[test]
    fn the_parameters_are_one_box() {
        check(
            b"....\0\0\0\x0aavcC\x01\x02....",
            Some(b"\0\0\0\x0aavcC\x01\x02"),
        );
        let esds = |bitrate| {
            let head = [b"\0\0\0\x27esds\0\0\0\0\x03\x19\0\x01\0\x04\x11\x40\x15\0\0\0".as_slice()];
            let bitrates = [[0, 1, 0, 0], [0, 0, bitrate, 0]].concat();
            [
                head.concat(),
                bitrates,
                b"\x05\x02\x11\x90\x06\x01\x02".to_vec(),
            ]
            .concat()
        };
        check(&esds(1), Some(b"\x11\x90"));
        check(&esds(2), Some(b"\x11\x90"));
        check(b"\0\0\0\x08moov", None);
        check(b"avcC", None);
        check(b"\xff\xff\xff\xffesds", None);
    }
}
