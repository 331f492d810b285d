//! The decoder's parameters in an init segment, to see whether they changed.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(init: &[u8], expect: Option<&[u8]>) {
        assert_eq!(decoder_parameters(init), expect, "{init:?}");
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
