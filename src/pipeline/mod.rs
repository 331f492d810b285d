//! The child's side of the program, and with [`source`] the only user of GStreamer.
//!
//! Read [`run`] (messages in and out), [`graph`] (the clock, the canvas, the ladder), [`input`]
//! (a publisher's track on its way in), `card` (names and initials), `colours` (what their numbers mean), `motion` (how pictures get to their places), `scale` (and become as large as these),
//! `crash` (whose thread it was), `delays` and `load` (what each stage costs in time, and what there was no time for), `muxing` into [`parts`] (what is cut where),
//! `splice` (a publisher's own frames, or a smaller rendition's, in the place of encoded ones) and `rtp` (the program for who plays it by WHEP).
//! [`source`] is the client's: what `amphi publish` sends.

mod abilities;
mod card;
mod colours;
mod crash;
mod delays;
mod graph;
mod input;
mod load;
mod motion;
mod muxing;
mod parts;
mod rtp;
mod run;
mod scale;
pub mod source;
mod splice;

pub use run::{run, tell_abilities};
