//! The pure part of the program: [`ladder`], [`layout`], the frames of the [`wire`] between
//! parent and child, the child's [`life`], and in it [`lip_sync`].

pub mod ladder;
pub mod layout;
pub mod life;
pub mod lip_sync;
pub mod wire;
