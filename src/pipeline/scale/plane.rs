//! libyuv, which scales one plane of bytes after the other.

use std::ffi::{c_int, c_uint};
use std::sync::Mutex;

use crate::program::core::fit::Size;

/// Bytes of rows that begin `stride` bytes after each other.
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
    pub size: Size,
}

pub struct PlaneMut<'a> {
    pub data: &'a mut [u8],
    pub stride: usize,
    pub size: Size,
}

/// What is between one plane and the next. All inputs share it, so that it stays in a core's cache.
#[derive(Default)]
struct Scratch {
    turned: Vec<u8>,
    turned_wide: Vec<u8>,
    wide: Vec<u8>,
}

/// As many as are scaled at once.
static SCRATCHES: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

/// `kFilterBilinear`
const BILINEAR: c_uint = 2;
/// `kFilterBox`: all pixels count where a picture shrinks to less than half; else as bilinear.
const BOX: c_uint = 3;

#[link(name = "yuv")]
unsafe extern "C" {
    /// `libyuv/scale.h`
    fn ScalePlane(
        src: *const u8,
        src_stride: c_int,
        src_width: c_int,
        src_height: c_int,
        dst: *mut u8,
        dst_stride: c_int,
        dst_width: c_int,
        dst_height: c_int,
        filtering: c_uint,
    );

    /// `libyuv/rotate.h`; the size is the source's, the mode degrees, and the answer 0.
    fn RotatePlane(
        src: *const u8,
        src_stride: c_int,
        dst: *mut u8,
        dst_stride: c_int,
        width: c_int,
        height: c_int,
        mode: c_uint,
    ) -> c_int;
}

/// `None` where the planes are not as large as they say.
pub fn scale(from: Plane<'_>, to: PlaneMut<'_>) -> Option<()> {
    if !is_quicker_turned(from.size, to.size) {
        return scale_directly(from, to, BOX);
    }
    let mut scratch = SCRATCHES.lock().ok()?.pop().unwrap_or_default();
    let done = scale_turned(from, to, &mut scratch);
    SCRATCHES.lock().ok()?.push(scratch);
    done
}

/// Between half and double, libyuv's rows take three times as long as its columns (ScaleFilterCols
/// makes two pixels at a time), but for the ratios that it has code of their own for.
fn is_quicker_turned(from: Size, to: Size) -> bool {
    let is_over_half = |from: u32, to: u32| u64::from(to) * 2 > u64::from(from);
    let is_quartered = |from: u32, to: u32| u64::from(to) * 4 == u64::from(from) * 3;
    let is_three_quarters = is_quartered(from.0, to.0) && is_quartered(from.1, to.1);
    let is_double = to.0.div_ceil(2) == from.0 && to.1.div_ceil(2) == from.1;
    let is_special = from.0 == to.0 || is_three_quarters || is_double;
    is_over_half(from.0, to.0) && is_over_half(from.1, to.1) && !is_special
}

/// Rows are scaled as columns of what was turned to its side, and then columns.
fn scale_turned(from: Plane<'_>, to: PlaneMut<'_>, scratch: &mut Scratch) -> Option<()> {
    let ((from_width, from_height), (width, _)) = (from.size, to.size);
    let Scratch {
        turned,
        turned_wide,
        wide,
    } = scratch;
    let mut turned = plane_of(turned, (from_height, from_width))?;
    rotate(from, turned.reborrow(), 90)?;
    let mut turned_wide = plane_of(turned_wide, (from_height, width))?;
    scale_directly(turned.as_plane(), turned_wide.reborrow(), BILINEAR)?;
    let mut wide = plane_of(wide, (width, from_height))?;
    rotate(turned_wide.as_plane(), wide.reborrow(), 270)?;
    scale_directly(wide.as_plane(), to, BILINEAR)
}

fn scale_directly(from: Plane<'_>, to: PlaneMut<'_>, filtering: c_uint) -> Option<()> {
    let [src_stride, src_width, src_height] = measured(from.data, from.stride, from.size)?;
    let [dst_stride, dst_width, dst_height] = measured(to.data, to.stride, to.size)?;
    // SAFETY: every row lies within its slice, as `measured` found, and the two do not overlap.
    unsafe {
        ScalePlane(
            from.data.as_ptr(),
            src_stride,
            src_width,
            src_height,
            to.data.as_mut_ptr(),
            dst_stride,
            dst_width,
            dst_height,
            filtering,
        );
    }
    Some(())
}

fn rotate(from: Plane<'_>, to: PlaneMut<'_>, degrees: c_uint) -> Option<()> {
    let [src_stride, width, height] = measured(from.data, from.stride, from.size)?;
    let [dst_stride, ..] = measured(to.data, to.stride, to.size)?;
    if from.size != (to.size.1, to.size.0) {
        return None;
    }
    // SAFETY: as above, and the target has a row for each column.
    let failed = unsafe {
        RotatePlane(
            from.data.as_ptr(),
            src_stride,
            to.data.as_mut_ptr(),
            dst_stride,
            width,
            height,
            degrees,
        )
    };
    (failed == 0).then_some(())
}

fn plane_of(bytes: &mut Vec<u8>, size: Size) -> Option<PlaneMut<'_>> {
    let (width, height) = (usize::try_from(size.0).ok()?, usize::try_from(size.1).ok()?);
    bytes.resize(width.checked_mul(height)?, 0);
    Some(PlaneMut {
        data: bytes,
        stride: width,
        size,
    })
}

impl PlaneMut<'_> {
    fn reborrow(&mut self) -> PlaneMut<'_> {
        PlaneMut {
            data: self.data,
            stride: self.stride,
            size: self.size,
        }
    }

    fn as_plane(&self) -> Plane<'_> {
        Plane {
            data: self.data,
            stride: self.stride,
            size: self.size,
        }
    }
}

/// Stride, width and height, of a plane that is all there.
fn measured(data: &[u8], stride: usize, (width, height): Size) -> Option<[c_int; 3]> {
    let (columns, rows) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
    let len = stride
        .checked_mul(rows.checked_sub(1)?)?
        .checked_add(columns)?;
    let is_whole = columns > 0 && columns <= stride && len <= data.len();
    let lengths = [stride, columns, rows].map(|length| c_int::try_from(length).ok());
    match lengths {
        [Some(stride), Some(width), Some(height)] if is_whole => Some([stride, width, height]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rounding, twice.
    const MOST_OFF: u8 = 3;

    /// Rows and columns with some bytes behind each, which are no part of it.
    fn scaled(
        data: &[u8],
        (from, to): (Size, Size),
        how: impl Fn(Plane<'_>, PlaneMut<'_>) -> Option<()>,
    ) -> Vec<u8> {
        let stride = to.0 as usize + 3;
        let mut out = vec![77; stride * to.1 as usize];
        let from = Plane {
            data,
            stride: from.0 as usize + 1,
            size: from,
        };
        let data = &mut out;
        let to_plane = PlaneMut {
            data,
            stride,
            size: to,
        };
        how(from, to_plane).expect("planes of these sizes");
        let rows = out.chunks(stride);
        rows.flat_map(|row| {
            let (picture, behind) = row.split_at(to.0 as usize);
            assert_eq!(behind, [77; 3]);
            picture.to_vec()
        })
        .collect()
    }

    proptest! {
        #[test]
        fn turned_it_is_the_same(
            from in (2u32..90, 2u32..90), to in (2u32..90, 2u32..90), seed: u8,
        ) {
            prop_assume!(is_quicker_turned(from, to));
            // In one direction alone, libyuv doubles a little to the side.
            prop_assume!(to.0.div_ceil(2) != from.0 && to.1.div_ceil(2) != from.1);
            let len = (from.0 + 1) * from.1;
            let data: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8 ^ seed).collect();
            let directly = scaled(&data, (from, to), |from, to| scale_directly(from, to, BILINEAR));
            let turned = scaled(&data, (from, to), scale);
            for (directly, turned) in directly.into_iter().zip(turned) {
                prop_assert!(directly.abs_diff(turned) <= MOST_OFF, "{directly} {turned}");
            }
        }
    }

    #[test]
    fn planes_that_are_too_small_are_refused() {
        let (data, mut out) = ([0; 99], [0; 400]);
        let from = Plane {
            data: &data,
            stride: 10,
            size: (10, 10),
        };
        let to = PlaneMut {
            data: &mut out,
            stride: 20,
            size: (15, 15),
        };
        assert!(scale(from, to).is_none());
    }
}
