//! Amphi: one house for the few who speak (WebRTC) and the many who watch (low-latency HLS).
//!
//! Reading order follows the media: who is in a room, how packets come in, how they become
//! a program, how the audience fetches it, what remains, and who may do what.

pub mod room;

pub mod rtc;

pub mod program;

#[cfg(feature = "pipeline")]
pub mod pipeline;

pub mod hls;

pub mod vod;

pub mod control;

pub mod config;
pub mod metrics;
pub mod problem;
pub mod server;
pub mod web;

pub mod client;
