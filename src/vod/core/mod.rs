//! The pure part of recordings: the [`manifest`], and the [`playlist`]s that follow from it; and the
//! [`range`] a client asks for.

pub mod manifest;
pub mod playlist;
pub mod range;
pub mod retention;
