//! Scales pictures, cuts off what does not fit, and makes their colours the canvas': an element of our
//! own around libyuv, so that it is done where a picture is decoded, and not by a pool of threads for
//! all.
//!
//! Its output has the canvas' colours, and the size that is asked for downstream, or that of a picture
//! in its tile; a shape that differs from the input's is cut out of the middle.

mod plane;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;

use crate::program::core::layout::Tile;

/// As descriptions name it.
pub const NAME: &str = "amphiscale";

glib::wrapper! {
    pub struct Scale(ObjectSubclass<imp::Scale>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

impl Scale {
    /// From the next picture on it is as large as it is in this tile.
    pub fn fit(&self, tile: Tile) {
        if let Ok(mut current) = self.imp().tile.lock()
            && current.replace(tile) != Some(tile)
        {
            drop(current);
            self.reconfigure_src();
        }
    }
}

/// Makes [`NAME`] known to this process.
pub fn register() -> Result<(), glib::BoolError> {
    gst::Element::register(None, NAME, gst::Rank::NONE, Scale::static_type())
}

mod imp {
    use std::sync::{LazyLock, Mutex};

    use gst::glib;
    use gst::subclass::prelude::*;
    use gst_base::subclass::BaseTransformMode;
    use gst_base::subclass::prelude::*;
    use gst_video::prelude::*;
    use gst_video::subclass::prelude::*;
    use gst_video::{VideoFormat, VideoFrameRef};

    use super::plane::{Plane, PlaneMut, scale};
    use crate::pipeline::colours::{self, COLORIMETRY, OURS};
    use crate::program::core::colours::Planes;
    use crate::program::core::fit::{Size, cut, fitted};
    use crate::program::core::layout::Tile;

    #[derive(Default)]
    pub struct Scale {
        pub(super) tile: Mutex<Option<Tile>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Scale {
        const NAME: &'static str = "AmphiScale";
        type Type = super::Scale;
        type ParentType = gst_video::VideoFilter;
    }

    impl ObjectImpl for Scale {}
    impl GstObjectImpl for Scale {}

    impl ElementImpl for Scale {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new(
                    "Scaler",
                    "Filter/Converter/Video/Scaler",
                    "Scales and crops by libyuv",
                    "Amphi",
                )
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let caps = gst_video::VideoCapsBuilder::new()
                    .format(VideoFormat::I420)
                    .build();
                let template = |name, direction| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                };
                let sink = template("sink", gst::PadDirection::Sink);
                let src = template("src", gst::PadDirection::Src);
                sink.into_iter().chain(src).collect()
            });
            TEMPLATES.as_ref()
        }
    }

    impl BaseTransformImpl for Scale {
        const MODE: BaseTransformMode = BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = true;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let mut any_size = caps.clone();
            for structure in any_size.make_mut().iter_mut() {
                for side in ["width", "height"] {
                    structure.set(side, gst::IntRange::new(1, i32::MAX));
                }
                match direction {
                    gst::PadDirection::Sink if structure.has_field(COLORIMETRY) => {
                        structure.set(COLORIMETRY, OURS);
                    }
                    _ => structure.remove_field(COLORIMETRY),
                }
            }
            Some(match filter {
                Some(filter) => {
                    filter.intersect_with_mode(&any_size, gst::CapsIntersectMode::First)
                }
                None => any_size,
            })
        }

        fn fixate_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            mut other: gst::Caps,
        ) -> gst::Caps {
            let size = caps.structure(0).and_then(|structure| {
                let side = |name| structure.get::<i32>(name).ok()?.try_into().ok();
                Some((side("width")?, side("height")?))
            });
            let tile = self.tile.lock().ok().and_then(|tile| *tile);
            let wanted = match (size, tile) {
                (Some(size), Some(tile)) if direction == gst::PadDirection::Sink => {
                    Some(fitted(size, &tile))
                }
                (size, _) => size,
            };
            other.truncate();
            if let (Some((width, height)), Some(structure)) =
                (wanted, other.make_mut().structure_mut(0))
            {
                structure.fixate_field_nearest_int("width", width as i32);
                structure.fixate_field_nearest_int("height", height as i32);
            }
            other.fixate();
            other
        }
    }

    impl VideoFilterImpl for Scale {
        fn transform_frame(
            &self,
            input: &VideoFrameRef<&gst::BufferRef>,
            output: &mut VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let (from, to) = (
                (input.width(), input.height()),
                (output.width(), output.height()),
            );
            let (left, top) = cut(from, to);
            let left_part = (from.0 - 2 * left, from.1 - 2 * top);
            // Of I420, the chroma planes have half the resolution, rounded up.
            let of_plane = |nth: usize, (width, height): Size| match nth {
                0 => (width, height),
                _ => (width.div_ceil(2), height.div_ceil(2)),
            };
            let mut out_strides = [0; 3];
            out_strides.copy_from_slice(&output.plane_stride()[..3]);
            let planes = input
                .planes_data()
                .into_iter()
                .zip(output.planes_data_mut());
            for (nth, (data, out)) in planes.take(3).enumerate() {
                let halving = if nth == 0 { 1 } else { 2 };
                let stride = input.plane_stride()[nth] as usize;
                let begins = (top / halving) as usize * stride + (left / halving) as usize;
                let from = Plane {
                    data: data.get(begins..).unwrap_or_default(),
                    stride,
                    size: of_plane(nth, left_part),
                };
                let to = PlaneMut {
                    data: out,
                    stride: out_strides[nth] as usize,
                    size: of_plane(nth, to),
                };
                scale(from, to).ok_or(gst::FlowError::Error)?;
            }
            if let Some(conversion) = colours::to_ours(&input.info().colorimetry()) {
                let [luma, u, v, _] = output.planes_data_mut();
                conversion.convert(Planes {
                    luma,
                    chroma: [u, v],
                    luma_stride: out_strides[0] as usize,
                    chroma_stride: out_strides[1] as usize,
                    width: to.0 as usize,
                    height: to.1 as usize,
                });
            }
            Ok(gst::FlowSuccess::Ok)
        }
    }
}
