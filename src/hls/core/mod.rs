//! The pure part of HLS: no I/O, no clock, no async.
//!
//! Read [`rendition`], [`segment`], [`track`] (one rendition's segments) and [`timeline`] (all
//! renditions on one grid: parts in, segments out), then what is written of it: [`media`] (a rendition's
//! playlist), [`codecs`] and [`multivariant`]; last [`reload`] (a viewer's
//! request: answer now, wait, or refuse).

pub mod codecs;
pub mod media;
pub mod multivariant;
pub mod reload;
pub mod rendition;
pub mod segment;
pub mod timeline;
pub mod track;
