//! The pure part of recordings: the [`manifest`], and the [`playlist`]s that follow from it.

pub mod manifest;
pub mod playlist;
