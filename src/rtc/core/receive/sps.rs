//! The picture's height out of an H.264 sequence parameter set (ITU-T H.264 §7.3.2.1.1).

use super::payload::HeightPx;

/// Profiles of which the parameter set describes the chroma and scaling lists.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Bytes of a parameter set that are looked at; what is longer has nothing to do with size.
const MAX_LEN: usize = 64;

/// The height in pixels of the pictures that `unit` (a NAL unit with its header) describes.
pub fn height_px(unit: &[u8]) -> Option<HeightPx> {
    let profile = *unit.get(1)?;
    let mut bits = Bits::new(unit.get(4..)?);
    bits.unsigned()?;
    let mut chroma_format = 1;
    if HIGH_PROFILES.contains(&profile) {
        chroma_format = bits.unsigned()?;
        if chroma_format == 3 {
            bits.take(1)?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            // Scaling lists: no camera's encoder sends them, and none tells the size.
            return None;
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => drop(bits.unsigned()?),
        1 => {
            bits.take(1)?;
            bits.unsigned()?;
            bits.unsigned()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.unsigned()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.take(1)?;
    bits.unsigned()?;
    let map_units = bits.unsigned()?.checked_add(1)?;
    let frame_only = bits.take(1)?;
    if frame_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let mut cropped = 0;
    if bits.take(1)? == 1 {
        bits.unsigned()?;
        bits.unsigned()?;
        let rows = if chroma_format == 1 { 2 } else { 1 } * (2 - frame_only);
        let sum = bits.unsigned()?.checked_add(bits.unsigned()?)?;
        cropped = sum.checked_mul(rows)?;
    }
    let height = map_units
        .checked_mul(16 * (2 - frame_only))?
        .checked_sub(cropped)?;
    HeightPx::new(u16::try_from(height).ok()?)
}

/// Bits of a NAL unit, its emulation prevention bytes left out (§7.3.1).
struct Bits {
    bytes: [u8; MAX_LEN],
    len: usize,
    at: usize,
}

impl Bits {
    fn new(unit: &[u8]) -> Self {
        let (mut bytes, mut len, mut zeros) = ([0; MAX_LEN], 0, 0);
        for &byte in unit {
            if len == MAX_LEN {
                break;
            }
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            bytes[len] = byte;
            len += 1;
        }
        Self { bytes, len, at: 0 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            if self.at >= 8 * self.len {
                return None;
            }
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// Exp-Golomb, ue(v) (§9.1).
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_of_real_encoders() {
        let check = |unit: &[u8], expect| {
            assert_eq!(height_px(unit).map(HeightPx::get), expect, "{unit:02x?}")
        };
        // x264, 1280x720 high; then constrained baseline 640x360 (368 with 8 rows cropped).
        check(
            &[
                0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00,
                0x03, 0x00, 0x10,
            ],
            Some(720),
        );
        check(
            &[
                0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
                0x00, 0x01,
            ],
            Some(360),
        );
        check(&[0x67], None);
    }

    proptest! {
        #[test]
        fn survives(unit in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = height_px(&unit);
        }
    }
}
