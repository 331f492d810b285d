//! The pure part of the program: [`files`] and what they hold, [`ladder`] and [`layout`], the frames of the [`wire`] between
//! parent and child, the child's [`life`] and the [`suspects`] of its death, and in it the [`grid`] that all renditions are cut on,
//! the [`splice`] of what is copied and what is encoded, [`shedding`] where it is too much, [`lip_sync`] and [`patience`]; what [`colours`] mean.

pub mod colours;
pub mod detail;
pub mod files;
pub mod fit;
pub mod grid;
pub mod ladder;
pub mod layout;
pub mod life;
pub mod lip_sync;
pub mod patience;
pub mod shedding;
pub mod splice;
pub mod suspects;
pub mod wire;
