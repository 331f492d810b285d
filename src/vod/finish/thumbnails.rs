//! Small pictures for the seek bar: sheets of them, and a WebVTT file that says which is when.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ffmpeg_next::format::{Pixel, context::Input};
use ffmpeg_next::software::scaling;
use ffmpeg_next::{Error, Packet, codec, decoder, format, frame, media};

use super::poster::{jpeg, receive};

const WIDTH_PX: u32 = 160;
const COLUMNS: u32 = 5;
const ROWS: u32 = 5;
/// Closer together they show the same.
const MIN_EVERY: Duration = Duration::from_secs(5);
/// However long the recording is.
const MAX_PICTURES: u32 = 200;

/// Writes `thumbnails.vtt` and `thumbnails-{n}.jpg` beside `film`.
pub fn make(film: &Path, folder: &Path) -> anyhow::Result<()> {
    let mut input = format::input(film)?;
    let duration = Duration::from_micros(input.duration().try_into().unwrap_or(0));
    let mut reader = Reader::open(&input)?;
    let plan = Plan::new(duration, reader.size());
    let mut sheet: Option<frame::Video> = None;
    for number in 0..plan.count {
        let picture = reader.at(&mut input, plan.every * number)?;
        let sheet_now = sheet.get_or_insert_with(|| empty_sheet(&plan));
        if let Some(picture) = picture {
            put(&small(&picture, &plan)?, sheet_now, plan.place(number));
        }
        let last_of_sheet = (number + 1) % (COLUMNS * ROWS) == 0 || number + 1 == plan.count;
        if last_of_sheet && let Some(sheet) = sheet.take() {
            std::fs::write(folder.join(sheet_name(plan.sheet(number))), jpeg(&sheet)?)?;
        }
    }
    std::fs::write(folder.join("thumbnails.vtt"), plan.vtt())?;
    Ok(())
}

pub fn sheet_name(sheet: u32) -> String {
    format!("thumbnails-{sheet}.jpg")
}

/// What is shown when, and where it is.
#[derive(Debug, PartialEq)]
struct Plan {
    every: Duration,
    count: u32,
    height_px: u32,
    duration: Duration,
}

impl Plan {
    fn new(duration: Duration, (width_px, height_px): (u32, u32)) -> Self {
        let every = MIN_EVERY.max(duration / MAX_PICTURES);
        let count = duration.as_nanos().div_ceil(every.as_nanos()) as u32;
        Self {
            every,
            count: count.max(1),
            // Chroma has half of the rows.
            height_px: (height_px * WIDTH_PX / width_px.max(1)).max(2) & !1,
            duration,
        }
    }

    fn sheet(&self, number: u32) -> u32 {
        number / (COLUMNS * ROWS)
    }

    /// Left and top within its sheet, in pixels.
    fn place(&self, number: u32) -> (u32, u32) {
        let number = number % (COLUMNS * ROWS);
        (
            number % COLUMNS * WIDTH_PX,
            number / COLUMNS * self.height_px,
        )
    }

    fn vtt(&self) -> String {
        let mut text = "WEBVTT\n".to_owned();
        for number in 0..self.count {
            let begin = self.every * number;
            let end = (begin + self.every).min(self.duration.max(begin + Duration::from_millis(1)));
            let (x, y) = self.place(number);
            let sheet = sheet_name(self.sheet(number));
            let height = self.height_px;
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n{} --> {}\n{sheet}#xywh={x},{y},{WIDTH_PX},{height}\n",
                time(begin),
                time(end)
            );
        }
        text
    }
}

/// `01:02:03.004`
fn time(at: Duration) -> String {
    let seconds = at.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}.{:03}",
        seconds % 60,
        at.subsec_millis()
    )
}

struct Reader {
    index: usize,
    decoder: decoder::Video,
}

impl Reader {
    fn open(input: &Input) -> anyhow::Result<Self> {
        let stream = input
            .streams()
            .best(media::Type::Video)
            .context("no video")?;
        let decoder = codec::Context::from_parameters(stream.parameters())?
            .decoder()
            .video()?;
        let index = stream.index();
        Ok(Self { index, decoder })
    }

    fn size(&self) -> (u32, u32) {
        (self.decoder.width(), self.decoder.height())
    }

    /// The key frame before `at`.
    fn at(&mut self, input: &mut Input, at: Duration) -> anyhow::Result<Option<frame::Video>> {
        let at_us = i64::try_from(at.as_micros())?;
        input.seek(at_us, ..at_us + 1)?;
        self.decoder.flush();
        loop {
            let mut packet = Packet::empty();
            match packet.read(input) {
                Ok(()) if packet.stream() != self.index => continue,
                Ok(()) => self.decoder.send_packet(&packet)?,
                Err(Error::Eof) => self.decoder.send_eof()?,
                Err(error) => return Err(error.into()),
            }
            if let Some(picture) = receive(&mut self.decoder) {
                return Ok(Some(picture));
            }
            if packet.size() == 0 {
                return Ok(None);
            }
        }
    }
}

fn small(picture: &frame::Video, plan: &Plan) -> anyhow::Result<frame::Video> {
    let mut small = frame::Video::empty();
    scaling::Context::get(
        picture.format(),
        picture.width(),
        picture.height(),
        Pixel::YUVJ420P,
        WIDTH_PX,
        plan.height_px,
        scaling::Flags::AREA,
    )?
    .run(picture, &mut small)?;
    Ok(small)
}

fn empty_sheet(plan: &Plan) -> frame::Video {
    let mut sheet = frame::Video::new(Pixel::YUVJ420P, COLUMNS * WIDTH_PX, ROWS * plan.height_px);
    for (plane, black) in [(0, 0), (1, 128), (2, 128)] {
        sheet.data_mut(plane).fill(black);
    }
    sheet
}

fn put(picture: &frame::Video, sheet: &mut frame::Video, (x, y): (u32, u32)) {
    for plane in 0..3 {
        let halve = if plane == 0 { 1 } else { 2 };
        let [x, y, width, height] =
            [x, y, picture.width(), picture.height()].map(|n| (n / halve) as usize);
        let (from, to) = (picture.stride(plane), sheet.stride(plane));
        let data = sheet.data_mut(plane);
        for row in 0..height {
            let source = &picture.data(plane)[row * from..][..width];
            data[(y + row) * to + x..][..width].copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_its_picture() {
        let plan = Plan::new(Duration::from_millis(12_500), (1280, 720));
        let expected = "WEBVTT\n\
            \n00:00:00.000 --> 00:00:05.000\nthumbnails-0.jpg#xywh=0,0,160,90\n\
            \n00:00:05.000 --> 00:00:10.000\nthumbnails-0.jpg#xywh=160,0,160,90\n\
            \n00:00:10.000 --> 00:00:12.500\nthumbnails-0.jpg#xywh=320,0,160,90\n";
        assert_eq!(plan.vtt(), expected);
    }

    #[test]
    fn a_long_recording_has_no_more_than_a_short_book() {
        let plan = Plan::new(Duration::from_secs(10 * 3600), (640, 480));
        assert_eq!((plan.count, plan.sheet(plan.count - 1)), (MAX_PICTURES, 7));
        assert_eq!(plan.place(26), (160, 0), "the second of the second sheet");
    }
}
