//! The decoder's parameters in an init segment: whether they changed, and how they go in-band.

/// The box that holds them, with its header: `avcC`, `hvcC`, `av1C` or `esds`.
pub fn decoder_parameters(init: &[u8]) -> Option<&[u8]> {
    const NAMES: [&[u8; 4]; 4] = [b"avcC", b"hvcC", b"av1C", b"esds"];
    let name_at = init
        .windows(4)
        .position(|window| NAMES.iter().any(|name| window == *name))?;
    let start = name_at.checked_sub(4)?;
    let length = u32::from_be_bytes(init[start..name_at].try_into().ok()?);
    init.get(start..start.checked_add(usize::try_from(length).ok()?)?)
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
        check(b"\0\0\0\x08moov", None);
        check(b"avcC", None);
        check(b"\xff\xff\xff\xffesds", None);
    }
}
