//! Builds the house of its parts and runs it.
//!
//! [`serve`] is the way in. Then [`rooms`] (all rooms), [`open_room`] (one of them), `room_state` (what it holds),
//! `composition` (what of it a program shows), [`broadcast`] (its program on the way to the audience), `preview` (what a producer sees before), `realtime` (to who plays it by WHEP), [`admission`] (publishers on the way
//! in), `gate` (the audience), `schedule` (what starts by itself), `costs` (whether one more broadcast fits), [`settings`] (the table's settings onto each part's own), [`meter`] and [`http`].

mod admission;
mod broadcast;
mod composition;
mod costs;
mod failures;
mod gate;
mod house;
mod http;
mod meter;
mod open_room;
mod participants;
mod preview;
mod publisher;
mod realtime;
mod recordings;
mod room_state;
mod rooms;
mod schedule;
mod serve;
mod settings;
mod token;
mod tools;

pub use serve::{ServeArgs, serve};
pub use token::{TokenArgs, token};
