//! A representative picture: early, but not black.

use std::path::Path;

use anyhow::Context;
use ffmpeg_next::format::{Pixel, context::Input};
use ffmpeg_next::software::scaling;
use ffmpeg_next::{Error, Packet, codec, decoder, encoder, format, frame, media};

/// Where to look from, if the recording is at least ten times as long.
const FROM_US: i64 = 3_000_000;
/// Pictures looked at: 20 s at 30 fps. Of all too dark ones the brightest is taken.
const MAX_LOOKED_AT: usize = 600;
/// Mean of luma (16 is black) from which a picture is no longer dark.
const BRIGHT: u64 = 32;
const MAX_WIDTH_PX: u32 = 1280;
/// JPEG's 2 (best) to 31, as FFmpeg counts it.
const QUANTIZER: i32 = 4;

/// Writes a JPEG picture out of `film`.
pub fn make(film: &Path, to: &Path) -> anyhow::Result<()> {
    let mut input = format::input(film)?;
    let picture = find(&mut input)?.context("no picture could be decoded")?;
    std::fs::write(to, jpeg(&picture)?)?;
    Ok(())
}

fn find(input: &mut Input) -> anyhow::Result<Option<frame::Video>> {
    let stream = input
        .streams()
        .best(media::Type::Video)
        .context("no video")?;
    let index = stream.index();
    let mut decoder = codec::Context::from_parameters(stream.parameters())?
        .decoder()
        .video()?;
    let from = FROM_US.min(input.duration() / 10);
    input.seek(from, ..)?;
    let mut best: Option<(u64, frame::Video)> = None;
    let mut looked_at = 0;
    loop {
        let mut packet = Packet::empty();
        let more = match packet.read(input) {
            Ok(()) if packet.stream() != index => continue,
            Ok(()) => {
                decoder.send_packet(&packet)?;
                true
            }
            Err(Error::Eof) => {
                decoder.send_eof()?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        while let Some(picture) = receive(&mut decoder) {
            looked_at += 1;
            let light = light(&picture);
            if best.as_ref().is_none_or(|(known, _)| light > *known) {
                best = Some((light, picture));
            }
            if light >= BRIGHT || looked_at == MAX_LOOKED_AT {
                return Ok(best.map(|(_, picture)| picture));
            }
        }
        if !more {
            return Ok(best.map(|(_, picture)| picture));
        }
    }
}

pub(super) fn receive(decoder: &mut decoder::Video) -> Option<frame::Video> {
    let mut picture = frame::Video::empty();
    decoder.receive_frame(&mut picture).ok().map(|()| picture)
}

/// Mean of luma.
fn light(picture: &frame::Video) -> u64 {
    let (width, stride) = (picture.width() as usize, picture.stride(0).max(1));
    let rows = picture
        .data(0)
        .chunks(stride)
        .take(picture.height() as usize);
    let sum: u64 = rows
        .flat_map(|row| row.iter().take(width))
        .map(|luma| u64::from(*luma))
        .sum();
    sum / (u64::from(picture.width()) * u64::from(picture.height())).max(1)
}

pub(super) fn jpeg(picture: &frame::Video) -> anyhow::Result<Vec<u8>> {
    let width = picture.width().min(MAX_WIDTH_PX);
    let height = (picture.height() * width / picture.width().max(1)).max(1);
    let mut scaled = frame::Video::empty();
    scaling::Context::get(
        picture.format(),
        picture.width(),
        picture.height(),
        Pixel::YUVJ420P,
        width,
        height,
        scaling::Flags::BICUBIC,
    )?
    .run(picture, &mut scaled)?;
    scaled.set_pts(Some(0));
    let mut context = codec::Context::new().encoder().video()?;
    context.set_width(width);
    context.set_height(height);
    context.set_format(Pixel::YUVJ420P);
    context.set_time_base((1, 1));
    context.set_qmin(QUANTIZER);
    context.set_qmax(QUANTIZER);
    let mjpeg = encoder::find(codec::Id::MJPEG).context("FFmpeg here cannot write JPEG")?;
    let mut encoder = context.open_as(mjpeg)?;
    encoder.send_frame(&scaled)?;
    encoder.send_eof()?;
    let mut packet = Packet::empty();
    encoder.receive_packet(&mut packet)?;
    Ok(packet.data().context("an empty picture")?.to_vec())
}
