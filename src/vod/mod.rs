//! WHAT REMAINS: the live segments, kept, are the recording.
//!
//! Read [`core`] (the manifest and the VOD playlists, which follow from it), [`store`] (where it
//! is kept), [`recorder`] (a broadcast's segments on their way there), [`archive`] (all
//! recordings), [`spool`] (where segments wait while the storage is away), [`finisher`] and its child [`finish`] (one file and a poster) and [`origin`] (`/vod`).

pub mod archive;
pub mod core;
mod file;
pub mod finish;
mod finisher;
pub mod origin;
pub mod recorder;
mod spool;
pub mod store;

pub use archive::{Archive, Backlog, Summary};
pub use core::manifest::{RecordingInfo, RenditionInfo, RenditionKind};
pub use origin::{Gate, routes};
pub use recorder::{Recorder, Segment};
pub use store::{Error, FinishSettings, Settings, SpoolSettings, Store, StoreLocation};
