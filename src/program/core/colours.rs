//! From one meaning of luma and chroma to another (ITU-R BT.601, BT.709, BT.2020; of limited or full
//! range): what a picture says of itself, in the words of the canvas.

/// How red, green and blue become luma and chroma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// The shares of red and of blue in luma; green has the rest.
    pub kr: f64,
    pub kb: f64,
    /// 0 to 255, not 16 to 235.
    pub is_full: bool,
}

/// BT.601 of limited range: what browsers make of a camera, and what the canvas is.
pub const BT601: Colours = Colours {
    kr: 0.299,
    kb: 0.114,
    is_full: false,
};

/// The rows of I420's three planes begin `stride` bytes after each other; each row of chroma is for
/// two of luma, each of its bytes for two of theirs.
pub struct Planes<'a> {
    pub luma: &'a mut [u8],
    pub chroma: [&'a mut [u8]; 2],
    pub luma_stride: usize,
    pub chroma_stride: usize,
    pub width: usize,
    pub height: usize,
}

/// Bits behind the point: a luma of 255 times a factor below 2 stays within 16 bits.
const BITS: i16 = 6;
/// And of what is computed less often.
const FINE_BITS: i32 = 14;

/// One kind of colours into another: luma is scaled and moved by what chroma adds, and chroma does
/// not depend on luma, since grey stays grey.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    scale: i16,
    /// What is added to luma for no chroma, and for each chroma's distance from 128.
    offset: i32,
    luma_of: [i32; 2],
    /// Of both chromas, into each.
    chroma_of: [[i32; 2]; 2],
}

impl Conversion {
    pub fn new(from: Colours, to: Colours) -> Self {
        let green = |of: Colours| 1.0 - of.kr - of.kb;
        let (red_v, blue_u) = (2.0 * (1.0 - from.kr), 2.0 * (1.0 - from.kb));
        let green_of = [-from.kb * blue_u, -from.kr * red_v].map(|of| of / green(from));
        // Luma of full range, of both chromas.
        let luma_of = [
            green(to) * green_of[0] + to.kb * blue_u,
            green(to) * green_of[1] + to.kr * red_v,
        ];
        let u_of = [blue_u - luma_of[0], -luma_of[1]].map(|of| of / (2.0 * (1.0 - to.kb)));
        let v_of = [-luma_of[0], red_v - luma_of[1]].map(|of| of / (2.0 * (1.0 - to.kr)));
        let range = |of: Colours| match of.is_full {
            true => (0.0, 255.0, 255.0),
            false => (16.0, 219.0, 224.0),
        };
        let ((from_black, from_luma, from_chroma), (black, luma, chroma)) =
            (range(from), range(to));
        let fine = |value: f64| (value * f64::from(1 << FINE_BITS)).round() as i32;
        let scale = luma / from_luma;
        let rounded = (scale * f64::from(1 << BITS)).round();
        Self {
            scale: rounded as i16,
            // Less what rounding the factor adds, in the middle.
            offset: fine(
                black - from_black * scale + 128.0 * (scale - rounded / f64::from(1 << BITS)),
            ),
            luma_of: luma_of.map(|of| fine(of * luma / from_chroma)),
            chroma_of: [u_of, v_of].map(|row| row.map(|of| fine(of * chroma / from_chroma))),
        }
    }

    /// Converts a picture in its place.
    pub fn convert(&self, planes: Planes<'_>) {
        let Planes {
            luma,
            chroma: [us, vs],
            luma_stride,
            chroma_stride,
            width,
            height,
        } = planes;
        let chroma_width = width.div_ceil(2);
        // To the luma of two rows.
        let mut added = Vec::with_capacity(2 * chroma_width);
        let mut rows = luma.chunks_mut(luma_stride.max(1)).take(height);
        let us = us.chunks_mut(chroma_stride.max(1));
        let vs = vs.chunks_mut(chroma_stride.max(1));
        for (us, vs) in us.zip(vs).take(height.div_ceil(2)) {
            added.clear();
            self.convert_chroma(us, vs, chroma_width, &mut added);
            for row in rows.by_ref().take(2) {
                for (luma, added) in row.iter_mut().take(width).zip(&added) {
                    let sum = i16::from(*luma) * self.scale + added;
                    *luma = (sum >> BITS).clamp(0, 255) as u8;
                }
            }
        }
    }

    /// One row; what it adds to luma goes there.
    fn convert_chroma(&self, us: &mut [u8], vs: &mut [u8], width: usize, to_luma: &mut Vec<i16>) {
        const HALF: i32 = 1 << (FINE_BITS - 1);
        const TO_LUMA: i32 = FINE_BITS - BITS as i32;
        let [[u_of_u, u_of_v], [v_of_u, v_of_v]] = self.chroma_of;
        for (u, v) in us.iter_mut().zip(vs).take(width) {
            let (old_u, old_v) = (i32::from(*u) - 128, i32::from(*v) - 128);
            let added = self.offset + self.luma_of[0] * old_u + self.luma_of[1] * old_v;
            // Half a step more, for rounding.
            let added = (added >> TO_LUMA) as i16 + (1 << (BITS - 1));
            to_luma.extend([added, added]);
            let clamp = |sum: i32| (128 + ((sum + HALF) >> FINE_BITS)).clamp(0, 255) as u8;
            *u = clamp(u_of_u * old_u + u_of_v * old_v);
            *v = clamp(v_of_u * old_u + v_of_v * old_v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BT709: Colours = Colours {
        kr: 0.2126,
        kb: 0.0722,
        is_full: false,
    };

    /// A colour as these write it, not rounded.
    fn written([r, g, b]: [f64; 3], of: Colours) -> [f64; 3] {
        let luma = of.kr * r + (1.0 - of.kr - of.kb) * g + of.kb * b;
        let (u, v) = (
            (b - luma) / (2.0 * (1.0 - of.kb)),
            (r - luma) / (2.0 * (1.0 - of.kr)),
        );
        match of.is_full {
            true => [luma, u + 128.0, v + 128.0],
            false => [
                16.0 + luma * 219.0 / 255.0,
                128.0 + u * 224.0 / 255.0,
                128.0 + v * 224.0 / 255.0,
            ],
        }
    }

    fn converted(picture: [f64; 3], from: Colours, to: Colours) -> [f64; 3] {
        let [luma, u, v] = picture.map(|value| value.round().clamp(0.0, 255.0) as u8);
        let (mut lumas, mut us, mut vs) = ([luma; 15], [u; 6], [v; 6]);
        Conversion::new(from, to).convert(Planes {
            luma: &mut lumas,
            chroma: [&mut us, &mut vs],
            luma_stride: 5,
            chroma_stride: 3,
            width: 5,
            height: 3,
        });
        assert!(lumas.iter().all(|other| *other == lumas[0]));
        assert!(us.iter().all(|other| *other == us[0]));
        [lumas[0], us[0], vs[0]].map(f64::from)
    }

    proptest! {
        #[test]
        fn a_colour_stays_the_same(r in 0.0f64..255.0, g in 0.0f64..255.0, b in 0.0f64..255.0) {
            let colour = [r, g, b];
            let full = |of: Colours| Colours { is_full: true, ..of };
            for from in [BT601, BT709, full(BT601), full(BT709)] {
                for to in [BT601, BT709] {
                    let is = converted(written(colour, from), from, to);
                    for (is, should) in is.into_iter().zip(written(colour, to)) {
                        // What is rounded before counts up to twice.
                        prop_assert!((is - should).abs() < 2.0, "{is} for {should}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_the_same_stays_as_it_was() {
        for luma in 0..=255u8 {
            let before = [f64::from(luma), 60.0, 200.0];
            assert_eq!(converted(before, BT601, BT601), before);
        }
    }
}
