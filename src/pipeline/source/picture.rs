//! The test picture: seats that light up, a clock to read, and the same time as a barcode.

/// 48 bits of milliseconds since 1970, then 8 bits of checksum.
pub const COLUMNS: usize = 56;
/// Not zero, so that neither a black nor a white picture is a valid time.
const CHECK_SEED: u8 = 0x5a;
/// Of the whole height: sharp enough for a rendition of half the size.
const STRIP_FRACTION: usize = 10;

/// Luma and both chromas of one colour.
type Colour = [u8; 3];
const FLOOR: Colour = [24, 126, 130];
const SEAT: Colour = [64, 121, 133];
const LIT: Colour = [143, 94, 180];
const DIGIT: Colour = [220, 120, 130];

/// Draws one picture after the other into I420 frames of one size.
pub struct Picture {
    width: usize,
    height: usize,
    empty: Vec<u8>,
}

impl Picture {
    /// `width` and `height` in pixels, both even.
    pub fn new(width: usize, height: usize) -> Self {
        let mut frame = Frame {
            width,
            height,
            planes: &mut vec![0; frame_len(width, height)],
        };
        frame.fill(0, 0, width, height, FLOOR);
        let empty = frame.planes.to_vec();
        Self {
            width,
            height,
            empty,
        }
    }

    /// The picture of this moment, in milliseconds since 1970.
    pub fn draw(&self, epoch_ms: u64) -> Vec<u8> {
        let mut planes = self.empty.clone();
        let mut frame = Frame {
            width: self.width,
            height: self.height,
            planes: &mut planes,
        };
        frame.seats(epoch_ms);
        frame.clock(epoch_ms);
        frame.barcode(epoch_ms);
        planes
    }
}

/// The columns of a time, from left to right; `true` is white.
pub fn barcode(epoch_ms: u64) -> [bool; COLUMNS] {
    let mut bytes = [0; COLUMNS / 8];
    bytes[..6].copy_from_slice(&epoch_ms.to_be_bytes()[2..]);
    bytes[6] = (0u8..)
        .zip(&bytes[..6])
        .fold(CHECK_SEED, |sum, (index, byte)| {
            sum.wrapping_add(byte.wrapping_mul(2 * index + 3))
        });
    std::array::from_fn(|column| bytes[column / 8] & (0x80 >> (column % 8)) != 0)
}

/// GStreamer's rows of I420 begin at multiples of four bytes.
const ROW_ALIGNMENT: usize = 4;

/// Bytes of a row of luma and of a row of chroma.
fn strides(width: usize) -> [usize; 2] {
    [width, width / 2].map(|bytes| bytes.next_multiple_of(ROW_ALIGNMENT))
}

fn frame_len(width: usize, height: usize) -> usize {
    // Half as many rows, of two chromas.
    strides(width).iter().sum::<usize>() * height
}

struct Frame<'a> {
    width: usize,
    height: usize,
    planes: &'a mut Vec<u8>,
}

impl Frame<'_> {
    /// Rows of an amphitheatre, through which a light goes once in four seconds.
    fn seats(&mut self, epoch_ms: u64) {
        let turn = (epoch_ms % 4000) as f64 / 4000.0;
        let (center_x, center_y) = (self.width as f64 / 2.0, self.height as f64 * 0.36);
        let scale = self.height as f64 / 720.0;
        let size = (14.0 * scale) as usize;
        for row in 0..7 {
            let radius = (190.0 + f64::from(row) * 46.0) * scale;
            let seats = 14 + row * 4;
            for seat in 0..=seats {
                let part = f64::from(seat) / f64::from(seats);
                let angle = std::f64::consts::PI * part;
                let near = (part - turn * 1.4 + 0.2).abs() < 0.09;
                let x = center_x + radius * angle.cos();
                let y = center_y + radius * angle.sin();
                let colour = if near { LIT } else { SEAT };
                self.fill(x.max(0.0) as usize, y as usize, size, size, colour);
            }
        }
    }

    /// Hours, minutes, seconds and milliseconds (UTC), in seven segments.
    fn clock(&mut self, epoch_ms: u64) {
        let seconds = epoch_ms / 1000;
        let text = format!(
            "{:02}:{:02}:{:02}.{:03}",
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            epoch_ms % 1000
        );
        let unit = self.height / 90;
        let advance = |letter: char| if letter.is_ascii_digit() { 7 } else { 3 } * unit;
        let total: usize = text.chars().map(advance).sum();
        let mut x = self.width.saturating_sub(total) / 2;
        let y = self.height * 2 / 9;
        for letter in text.chars() {
            match letter.to_digit(10) {
                Some(digit) => self.digit(x, y, unit, digit as usize),
                None => {
                    self.fill(x, y + 8 * unit, unit, unit, DIGIT);
                    if letter == ':' {
                        self.fill(x, y + 2 * unit, unit, unit, DIGIT);
                    }
                }
            }
            x += advance(letter);
        }
    }

    /// A digit of 5 by 9 units.
    fn digit(&mut self, x: usize, y: usize, unit: usize, digit: usize) {
        /// Column, row, width and height of each segment, from a to g.
        const SEGMENTS: [[usize; 4]; 7] = [
            [0, 0, 5, 1],
            [4, 0, 1, 5],
            [4, 4, 1, 5],
            [0, 8, 5, 1],
            [0, 4, 1, 5],
            [0, 0, 1, 5],
            [0, 4, 5, 1],
        ];
        /// The lit segments, a in the lowest bit.
        const LIT_SEGMENTS: [u8; 10] = [0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f];
        for (bit, [column, row, width, height]) in SEGMENTS.into_iter().enumerate() {
            if LIT_SEGMENTS[digit % 10] & (1 << bit) != 0 {
                let (x, y) = (x + column * unit, y + row * unit);
                self.fill(x, y, width * unit, height * unit, DIGIT);
            }
        }
    }

    fn barcode(&mut self, epoch_ms: u64) {
        let strip = self.height / STRIP_FRACTION / 2 * 2;
        let edge = |column: usize| column * self.width / COLUMNS;
        let edges: Vec<_> = (0..=COLUMNS).map(edge).collect();
        for (column, white) in barcode(epoch_ms).into_iter().enumerate() {
            let colour = [if white { 235 } else { 16 }, 128, 128];
            let width = edges[column + 1] - edges[column];
            self.fill(edges[column], 0, width, strip, colour);
        }
    }

    /// Fills a rectangle; what is outside of the picture is left out.
    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        let strides = strides(self.width);
        let mut plane = |start: usize, halve: usize, value: u8| {
            let stride = strides[halve - 1];
            let right = ((x + width) / halve).min(self.width / halve);
            let left = (x / halve).min(right);
            for row in y / halve..((y + height) / halve).min(self.height / halve) {
                let row = start + row * stride;
                self.planes[row + left..row + right].fill(value);
            }
        };
        plane(0, 1, colour[0]);
        let luma = strides[0] * self.height;
        plane(luma, 2, colour[1]);
        plane(luma + strides[1] * self.height / 2, 2, colour[2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the barcode as a viewer does: the middle of each column.
    fn read(luma: &[u8], width: usize, row: usize) -> [bool; COLUMNS] {
        std::array::from_fn(|column| {
            luma[row * width + (2 * column + 1) * width / (2 * COLUMNS)] > 125
        })
    }

    #[test]
    fn the_barcode_is_the_one_of_the_player() {
        let columns = barcode(0x0102_0304_0506);
        let byte = |index: usize| {
            (0..8).fold(0u8, |sum, bit| sum * 2 + u8::from(columns[index * 8 + bit]))
        };
        assert_eq!([1, 2, 3, 4, 5, 6], std::array::from_fn(byte));
        let check = 0x5a + 3 + 2 * 5 + 3 * 7 + 4 * 9 + 5 * 11 + 6 * 13;
        assert_eq!(u32::from(byte(6)), check % 256);
    }

    #[test]
    fn a_frame_is_as_long_as_gstreamer_reads() {
        gst::init().expect("GStreamer");
        for (width, height) in [(320, 180), (180, 320), (162, 90), (1280, 720)] {
            let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, width, height);
            let expected = info.build().expect("a format").size();
            assert_eq!(
                frame_len(width as usize, height as usize),
                expected,
                "{width}x{height}"
            );
        }
    }

    #[test]
    fn the_picture_shows_its_time_and_moves() {
        for (width, height) in [(1280, 720), (640, 360)] {
            let picture = Picture::new(width, height);
            let now = 1_790_000_123_456;
            let frame = picture.draw(now);
            assert_eq!(frame.len(), width * height * 3 / 2);
            assert_eq!(read(&frame, width, height / 20), barcode(now));
            assert_ne!(frame, picture.draw(now + 33));
        }
    }
}
