//! WHO MAY, and the API that producers and pages use.
//!
//! Read [`auth`] (tokens and what they allow), then [`api`] (the routes), [`views`] (what they answer), [`openapi`] (what describes them) and [`events`] (what happens,
//! as it happens, out of a [`journal`]).

pub mod api;
pub mod auth;
pub mod events;
pub mod journal;
pub mod openapi;
pub mod participants;
pub mod views;
