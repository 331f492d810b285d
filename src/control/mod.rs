//! WHO MAY, and the API that producers and pages use.
//!
//! Read [`auth`] (tokens and what they allow), then [`api`] (the routes).

pub mod api;
pub mod auth;
pub mod participants;
