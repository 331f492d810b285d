//! Segments into one progressive MP4, without decoding.
//!
//! All segments of a broadcast lie on one clock, so their timestamps stay as they are, less the
//! first one: sound and picture keep their distance, and where a replaced child left a gap, the
//! last picture stands. An MP4 track has one set of decoder parameters: where they change within
//! the recording, because some of the picture was copied from its publisher, each key frame of H.264
//! brings its own along. Other codecs' do not change; if they did, there is no file, and the reason
//! says so.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ffmpeg_next::format::context::{Input, Output};
use ffmpeg_next::{Dictionary, Error, Packet, Rational, Rescale, codec, encoder, format};

use super::parameters::{self, decoder_parameters};

const MICROSECONDS: Rational = Rational(1, 1_000_000);
/// An init segment is about 1 kB.
const MAX_INIT_BYTES: u64 = 64 << 10;

pub fn remux(video: Vec<PathBuf>, audio: Vec<PathBuf>, to: &Path) -> anyhow::Result<()> {
    let mut output = format::output(to).context("recording.mp4 cannot be written")?;
    let mut tracks = Vec::new();
    for files in [video, audio].into_iter().filter(|files| !files.is_empty()) {
        if let Some(track) = Track::open(files, &mut output)? {
            tracks.push(track);
        }
    }
    let begin_us = tracks
        .iter()
        .filter_map(Track::next_us)
        .min()
        .context("there is no segment with media in it")?;
    // The index goes before the media, so that it plays while it is being loaded.
    let mut options = Dictionary::new();
    options.set("movflags", "faststart");
    output.write_header_with(options)?;
    for track in &mut tracks {
        track.out_base = output
            .stream(track.index)
            .context("a stream of the output")?
            .time_base();
    }
    while let Some(track) = tracks
        .iter_mut()
        .filter(|track| track.next.is_some())
        .min_by_key(|track| track.next_us())
    {
        track.write_next(begin_us, &mut output)?;
    }
    output.write_trailer()?;
    Ok(())
}

/// One stream of the output and the files it is read from, one after the other.
struct Track {
    index: usize,
    files: VecDeque<PathBuf>,
    input: Input,
    in_base: Rational,
    out_base: Rational,
    next: Option<Packet>,
    /// In the output's time base.
    last_dts: i64,
    parameters: Vec<u8>,
    /// What each key frame of the present file begins with; `None` if all files have the same
    /// parameters.
    in_band: Option<Vec<u8>>,
}

impl Track {
    /// `None` if there is nothing in the files.
    fn open(files: Vec<PathBuf>, output: &mut Output) -> anyhow::Result<Option<Self>> {
        let mut files = VecDeque::from(files);
        let Some(first) = files.pop_front() else {
            return Ok(None);
        };
        let parameters = read_parameters(&first)?;
        let mut others = files.iter().map(|file| read_parameters(file));
        let varies = others.try_fold(false, |varies, other| {
            anyhow::Ok(varies || other? != parameters)
        })?;
        let input = format::input(&first)?;
        let mut stream = output.add_stream(encoder::find(codec::Id::None))?;
        let source = input.stream(0).context("a file without a track")?;
        stream.set_parameters(source.parameters());
        stream.set_time_base(source.time_base());
        let in_base = source.time_base();
        let index = stream.index();
        let mut track = Self {
            index,
            files,
            in_base,
            out_base: in_base,
            input,
            next: None,
            last_dts: i64::MIN,
            in_band: varies
                .then(|| in_band(&parameters, &parameters))
                .transpose()?,
            parameters,
        };
        track.advance()?;
        Ok(Some(track))
    }

    fn next_us(&self) -> Option<i64> {
        let dts = self.next.as_ref()?.dts()?;
        Some(dts.rescale(self.in_base, MICROSECONDS))
    }

    fn write_next(&mut self, begin_us: i64, output: &mut Output) -> anyhow::Result<()> {
        let Some(mut packet) = self.next.take() else {
            return Ok(());
        };
        packet.rescale_ts(self.in_base, self.out_base);
        let begin = begin_us.rescale(MICROSECONDS, self.out_base);
        let dts = packet.dts().map(|dts| dts - begin);
        packet.set_dts(dts);
        packet.set_pts(packet.pts().map(|pts| pts - begin));
        // What overlaps the end of the replaced child is left out: time only goes forward.
        if let Some(dts) = dts.filter(|dts| *dts > self.last_dts) {
            self.last_dts = dts;
            if let Some(sets) = self.in_band.as_ref().filter(|_| packet.is_key()) {
                packet = with(sets, &packet);
            }
            packet.set_stream(self.index);
            packet.set_position(-1);
            packet.write_interleaved(output)?;
        }
        self.advance()
    }

    /// Reads the next packet, from the next file if need be.
    fn advance(&mut self) -> anyhow::Result<()> {
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.dts().is_none() => continue,
                Ok(()) => {
                    self.next = Some(packet);
                    return Ok(());
                }
                Err(Error::Eof) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(file) = self.files.pop_front() else {
                self.next = None;
                return Ok(());
            };
            if self.in_band.is_some() {
                self.in_band = Some(in_band(&read_parameters(&file)?, &self.parameters)?);
            }
            self.input = format::input(&file)?;
            self.in_base = self
                .input
                .stream(0)
                .context("a file without a track")?
                .time_base();
        }
    }
}

/// A file's parameter sets, for a track that begins with others.
fn in_band(parameters: &[u8], first: &[u8]) -> anyhow::Result<Vec<u8>> {
    let sets = parameters::in_band(parameters).zip(parameters::in_band(first));
    match sets {
        Some(((sets, length_bytes), (_, first_length_bytes)))
            if length_bytes == first_length_bytes =>
        {
            Ok(sets)
        }
        _ => bail!("the encoder's parameters changed within the recording; play it by HLS"),
    }
}

/// The packet with that before its data.
fn with(before: &[u8], packet: &Packet) -> Packet {
    let data = packet.data().unwrap_or_default();
    let mut longer = Packet::copy(&[before, data].concat());
    longer.set_pts(packet.pts());
    longer.set_dts(packet.dts());
    longer.set_duration(packet.duration());
    longer.set_flags(packet.flags());
    longer
}

fn read_parameters(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut begin = Vec::new();
    std::fs::File::open(file)?
        .take(MAX_INIT_BYTES)
        .read_to_end(&mut begin)?;
    let found = decoder_parameters(&begin);
    ensure!(found.is_some(), "a file without an init segment");
    Ok(found.unwrap_or_default().to_vec())
}
