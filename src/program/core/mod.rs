//! The pure part of the program: [`ladder`], [`layout`], the frames of the [`wire`] between
//! parent and child, and the child's [`life`].

pub mod ladder;
pub mod layout;
pub mod life;
pub mod wire;
