//! The ladder and its encoder, as an operator writes them in `pipelines/`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{FileError, Files, Kind};

/// The set of encodings of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    pub fps: u32,
    /// The first is the canvas, the others are scaled from it.
    pub video: Vec<VideoRendition>,
    pub audio: AudioRendition,
    pub encoder: Encoder,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoRendition {
    pub name: String,
    pub width_px: u32,
    pub height_px: u32,
    pub bitrate_bps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioRendition {
    pub name: String,
    pub bitrate_bps: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    /// GStreamer's description of the element; `{bitrate_kbps}` is the rendition's.
    pub element: String,
    /// What the encoder is held to.
    pub caps: String,
}

/// As high as a preview is at most.
const PREVIEW_PX: u32 = 360;

/// Renditions at most; each costs an encoder.
const MAX_RENDITIONS: usize = 6;

const LADDERS: Kind = Kind {
    name: "ladder",
    folder: "ladders",
    built_in: &[
        (
            "default",
            include_str!("../../../pipelines/ladders/default.toml"),
        ),
        (
            "full-hd",
            include_str!("../../../pipelines/ladders/full-hd.toml"),
        ),
        (
            "small",
            include_str!("../../../pipelines/ladders/small.toml"),
        ),
    ],
};
const ENCODERS: Kind = Kind {
    name: "encoder",
    folder: "encoders",
    built_in: &[
        (
            FALL_BACK,
            include_str!("../../../pipelines/encoders/x264.toml"),
        ),
        (
            "vaapi",
            include_str!("../../../pipelines/encoders/vaapi.toml"),
        ),
        (
            "nvenc",
            include_str!("../../../pipelines/encoders/nvenc.toml"),
        ),
        ("qsv", include_str!("../../../pipelines/encoders/qsv.toml")),
        (
            "v4l2",
            include_str!("../../../pipelines/encoders/v4l2.toml"),
        ),
    ],
};

/// The encoder that works on every machine.
const FALL_BACK: &str = "x264";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LadderFile {
    fps: u32,
    video: Vec<VideoRendition>,
    audio: AudioRendition,
}

impl Ladder {
    /// One small picture, and the sound.
    pub fn preview(&self) -> Self {
        let smallest = self.video.iter().min_by_key(|video| video.height_px);
        let video = smallest.map(|video| match video.height_px > PREVIEW_PX {
            false => video.clone(),
            true => VideoRendition {
                // Even, as chroma needs it.
                width_px: (video.width_px * PREVIEW_PX / video.height_px).next_multiple_of(2),
                height_px: PREVIEW_PX,
                ..video.clone()
            },
        });
        Self {
            video: video.into_iter().collect(),
            ..self.clone()
        }
    }
}

impl Encoder {
    /// GStreamer's description, for a rendition of this bitrate.
    pub fn description(&self, bitrate_bps: u32) -> String {
        let bitrate_kbps = (bitrate_bps / 1000).to_string();
        let element = self.element.replace("{bitrate_kbps}", &bitrate_kbps);
        format!("{element} ! {}", self.caps)
    }
}

impl Ladder {
    /// Those built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LADDERS.built_in.iter().map(|(name, _)| *name)
    }

    /// `ladders/{name}.toml` and `encoders/{encoder}.toml`.
    pub fn load(files: &Files<'_>, name: &str, encoder: &str) -> Result<Self, FileError> {
        let (file, ladder): (String, LadderFile) = files.load(LADDERS, name)?;
        let (_, encoder) = files.load(ENCODERS, encoder)?;
        let ladder = Self {
            fps: ladder.fps,
            video: ladder.video,
            audio: ladder.audio,
            encoder,
        };
        ladder
            .check()
            .map_err(|reason| FileError::Bad { file, reason })?;
        Ok(ladder)
    }

    /// The same with the encoder that works on every machine; `None` when it has that.
    pub fn fall_back(&self) -> Option<Self> {
        let (_, encoder) = Files::built_in().load(ENCODERS, FALL_BACK).ok()?;
        (self.encoder != encoder).then(|| Self {
            encoder,
            ..self.clone()
        })
    }

    /// The same, encoded as another is.
    pub fn with_encoder_of(self, other: &Self) -> Self {
        Self {
            encoder: other.encoder.clone(),
            ..self
        }
    }

    /// Width and height of what is composed: the first rendition's.
    pub fn canvas_px(&self) -> (u32, u32) {
        let first = self.video.first();
        first.map_or((0, 0), |first| (first.width_px, first.height_px))
    }

    /// How long a frame is shown.
    pub fn frame(&self) -> Duration {
        Duration::from_secs(1) / self.fps.max(1)
    }

    fn check(&self) -> Result<(), String> {
        if !(10..=60).contains(&self.fps) {
            return Err(format!("fps = {} must be 10 to 60", self.fps));
        }
        if self.video.is_empty() || self.video.len() > MAX_RENDITIONS {
            return Err(format!("it needs 1 to {MAX_RENDITIONS} [[video]]"));
        }
        for v in &self.video {
            let even = v.width_px % 2 == 0 && v.height_px % 2 == 0;
            if !even || !(64..=3840).contains(&v.width_px) || !(64..=2160).contains(&v.height_px) {
                let size = format!("{}x{}", v.width_px, v.height_px);
                return Err(format!(
                    "`{}`: {size} must be even, 64x64 to 3840x2160",
                    v.name
                ));
            }
        }
        let mut names: Vec<_> = self.video.iter().map(|v| &v.name).collect();
        names.push(&self.audio.name);
        for (nth, name) in names.iter().enumerate() {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if name.is_empty() || name.len() > 32 || !plain || names[..nth].contains(name) {
                return Err(format!(
                    "`{name}`: names are unique, of a-z, A-Z, 0-9 and -, up to 32"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(ladder: Option<&'static str>) -> Result<Ladder, String> {
        let read = |path: &Path| {
            ladder
                .filter(|_| path.ends_with("ladders/own.toml"))
                .map(|text| text.as_bytes().to_vec())
        };
        let files = Files {
            folder: Some(Path::new("/etc/amphi")),
            read: &read,
        };
        Ladder::load(&files, "own", "x264").map_err(|e| e.to_string())
    }

    #[test]
    fn the_ladder_built_in_is_good() {
        let ladder = Ladder::load(&Files::built_in(), "default", "x264").expect("good");
        assert_eq!(ladder.video[0].name, "720p");
        assert!(ladder.encoder.element.contains("{bitrate_kbps}"));
    }

    #[test]
    fn every_encoder_built_in_takes_a_bitrate_and_falls_back() {
        for (name, _) in ENCODERS.built_in {
            let ladder = Ladder::load(&Files::built_in(), "default", name).expect(name);
            let description = ladder.encoder.description(2_500_000);
            assert!(description.contains("=2500"), "{name}");
            assert_eq!(ladder.fall_back().is_none(), *name == FALL_BACK, "{name}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let check = |text, words: &[&str]| {
            let error = load(text).expect_err("bad");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        };
        check(
            None,
            &[
                "no ladder `own`",
                "built in are default",
                "/etc/amphi/ladders",
            ],
        );
        check(
            Some("fps = 30\nvideos = 1"),
            &["/etc/amphi/ladders/own.toml", "line 2", "videos"],
        );
        check(
            Some("fps = 300\nvideo = []\n[audio]\nname = 'a'\nbitrate_bps = 1"),
            &["fps = 300"],
        );
        let odd = "fps = 30\n[[video]]\nname='x'\nwidth_px=641\nheight_px=360\nbitrate_bps=1\n[audio]\nname='a'\nbitrate_bps=1";
        check(Some(odd), &["641x360", "even"]);
    }
}
