//! WHAT REMAINS: the live segments, kept, are the recording.
//!
//! Read [`core`] (the manifest and the VOD playlists, which follow from it), [`store`] (where it
//! is kept), [`recorder`] (a broadcast's segments on their way there), [`archive`] (all
//! recordings) and [`origin`] (`/vod`).

pub mod archive;
pub mod core;
pub mod origin;
pub mod recorder;
pub mod store;

pub use archive::{Archive, Summary};
pub use core::manifest::{RecordingInfo, RenditionInfo, RenditionKind};
pub use origin::routes;
pub use recorder::{Recorder, Segment};
pub use store::{Settings, Store, StoreLocation};
