//! The messages between parent and child: frames of a 32-bit length and a postcard body.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ladder::Ladder;
use super::layout::{Card, Tile};
use crate::room::Codec;

/// The longest frame: a part of a 4K rendition has some megabytes.
pub const MAX_FRAME_LEN: usize = 16 << 20;

/// How the line of the child's log begins that names the thread it crashed in.
pub const CRASHED: &str = "crashed in thread ";

/// One track that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputId(pub u32);

impl InputId {
    const LABEL: &str = "in-";

    /// What the child's threads and elements that work for the input are named after.
    pub fn label(self) -> String {
        format!("{}{}", Self::LABEL, self.0)
    }

    /// The first input that a text of the child names.
    pub fn named_in(text: &str) -> Option<Self> {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.find_map(|word| {
            let number = word.strip_prefix(Self::LABEL)?;
            let end = number.find(|c: char| !c.is_ascii_digit());
            number[..end.unwrap_or(number.len())].parse().ok().map(Self)
        })
    }
}

/// What the child must know to decode an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    pub id: InputId,
    /// The same for tracks that belong together.
    pub group: u64,
    pub codec: Codec,
    pub payload_type: u8,
    pub clock_rate: u32,
    pub fmtp: String,
    /// The id of the RTP header extension that says what a picture's colours are.
    pub color_space: Option<u8>,
}

/// All that is to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Canvas {
    /// What shows where no picture is, as 0xRRGGBB.
    pub background: u32,
    pub tiles: Vec<(InputId, Tile)>,
    pub cards: Vec<(Card, Tile)>,
    /// The picture that is all there is to be seen, and may be copied as its publisher encoded it.
    pub copied: Option<InputId>,
    /// How long it takes to get there; zero is a cut.
    pub transition: Duration,
}

impl Canvas {
    /// The one picture that covers a canvas of this size, if nothing else is to be seen.
    pub fn whole(&self, (width_px, height_px): (u32, u32)) -> Option<InputId> {
        match (self.tiles.as_slice(), self.cards.is_empty()) {
            ([(input, tile)], true) if (tile.width_px, tile.height_px) == (width_px, height_px) => {
                Some(*input)
            }
            _ => None,
        }
    }
}

/// A part of a rendition's segment: one CMAF chunk or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub rendition: String,
    /// Of its first sample, on the broadcast's running time, which outlives the child.
    pub decode_time: Duration,
    pub duration: Duration,
    /// Decoding can begin here.
    pub independent: bool,
    /// Which segment it is part of, counted for all renditions together, by each child anew.
    pub segment: u64,
    /// No more of that segment will follow.
    pub ends_segment: bool,
    /// That segment is encoded in another way than the one before.
    pub discontinuity: bool,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub ladder: Ladder,
    pub segment: Duration,
    pub part: Duration,
    /// Where running time is zero, on the machine's monotonic clock: the same for every child of
    /// a broadcast, so that its timeline goes on.
    pub base_time: Duration,
    /// A child that needs more leaks.
    pub max_memory_bytes: u64,
    /// Whether quiet voices are made louder.
    pub auto_gain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToChild {
    /// The first message.
    Start(Start),
    AddInput(InputSpec),
    RemoveInput(InputId),
    /// What is to be seen from now on; a video input without a tile is not.
    Show(Canvas),
    Rtp {
        input: InputId,
        /// Running time.
        arrival: Duration,
        packet: Bytes,
    },
    /// What ties an input's RTP timestamps to its publisher's clock (RFC 3550 §6.4.1).
    SenderReport {
        input: InputId,
        /// 64-bit NTP time, seconds since 1900 in the upper half.
        ntp: u64,
        rtp: u32,
    },
    /// Whether the program is wanted as RTP too.
    SendRtp(bool),
    /// Somebody who plays this rendition by RTP cannot show it before its next key frame.
    ForceKeyFrame {
        rendition: String,
    },
    /// Finish the last segment and end.
    Stop,
}

/// Where in the graph a picture is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// An input's, before the mixer.
    Decoded,
    /// The program's, before the encoders.
    Mixed,
    /// A rendition's, after its encoder.
    Encoded,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Decoded => "decoded",
            Stage::Mixed => "mixed",
            Stage::Encoded => "encoded",
        }
    }
}

/// What the graph could not do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Frames that came to the encoder of the most costly rendition.
    pub frames: u64,
    /// Frames that no encoder had time for, of all renditions.
    pub dropped_frames: u64,
    /// Packets that came too late to be shown or heard.
    pub late_packets: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromChild {
    Init {
        rendition: String,
        bytes: Bytes,
    },
    Part(Part),
    /// A frame of the program, payloaded; its timestamps are running time.
    Rtp {
        rendition: String,
        packets: Vec<Bytes>,
    },
    KeyFrameWanted {
        input: InputId,
    },
    /// How long pictures took to get there, since the last time.
    Delays {
        stage: Stage,
        delays: Vec<Duration>,
    },
    /// Since the last time.
    Load(Load),
    /// The most costly rendition shows the next smaller one, for the machine cannot encode both; or
    /// not any longer.
    Shed(bool),
    /// By how much a publisher's sound or picture is shown later to stay with the other.
    Skew(Duration),
    /// An input's stream is broken, and it makes nothing any more; the others go on.
    InputFailed {
        input: InputId,
        reason: String,
    },
    /// Why the child ends; nothing follows.
    LastWord(String),
}

/// What a machine's GStreamer can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// That can be decoded.
    pub codecs: Vec<Codec>,
    /// Elements that every broadcast needs, and that are not there.
    pub missing: Vec<String>,
    /// Why the ladder's encoder does not work, if it does not.
    pub encoder_fault: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {0} bytes is longer than {MAX_FRAME_LEN}")]
    TooLong(usize),
    #[error("a frame is not a message: {0}")]
    Malformed(#[from] postcard::Error),
}

/// Appends a message's frame to `out`.
pub fn write(message: &impl Serialize, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    *out = postcard::to_extend(message, std::mem::take(out))?;
    let len = out.len() - start - LENGTH;
    let word = u32::try_from(len).ok().filter(|_| len <= MAX_FRAME_LEN);
    let word = word.ok_or(WireError::TooLong(len))?;
    out[start..start + LENGTH].copy_from_slice(&word.to_be_bytes());
    Ok(())
}

/// The length of the frame that begins with this word.
pub fn frame_len(word: [u8; LENGTH]) -> Result<usize, WireError> {
    let len = u32::from_be_bytes(word) as usize;
    if len > MAX_FRAME_LEN {
        Err(WireError::TooLong(len))
    } else {
        Ok(len)
    }
}

/// Bytes of the length before each frame, big-endian.
pub const LENGTH: usize = 4;

/// Reads a frame's body, which is without its length.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    Ok(postcard::from_bytes(body)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
        message: T,
    ) {
        let mut out = b"before".to_vec();
        write(&message, &mut out).expect("written");
        let frame = &out[6..];
        let len = frame_len([frame[0], frame[1], frame[2], frame[3]]).expect("a length");
        assert_eq!(len, frame.len() - LENGTH);
        assert_eq!(read::<T>(&frame[LENGTH..]).expect("read"), message);
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        round_trip(ToChild::Rtp {
            input: InputId(7),
            arrival: Duration::from_micros(1_000_001),
            packet: Bytes::from_static(&[0x80; 1200]),
        });
        round_trip(ToChild::Stop);
        round_trip(ToChild::SenderReport {
            input: InputId(7),
            ntp: u64::MAX,
            rtp: 1,
        });
        round_trip(FromChild::LastWord("no encoder".into()));
    }

    #[test]
    fn the_childs_words_name_an_input() {
        let named = |text| InputId::named_in(text).map(|id| id.0);
        assert_eq!(named("crashed in thread in-12:src"), Some(12));
        assert_eq!(named("crashed in thread in-12-queue:src"), Some(12));
        assert_eq!(
            named("/GstPipeline:p/GstBin:in-7/GstVP8Dec:d: broken"),
            Some(7)
        );
        assert_eq!(named("crashed in thread canvas:src"), None);
        assert_eq!(named("plug-in-7, in-, in-99999999999"), None);
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        assert!(matches!(frame_len([0xFF; 4]), Err(WireError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<ToChild>(&bytes);
            let _ = read::<FromChild>(&bytes);
        }
    }
}
