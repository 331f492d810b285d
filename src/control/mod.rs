//! WHO MAY, and the API that producers and pages use.
//!
//! Who asks: [`auth`] (tokens, and what they allow), [`issuer`] (those of an identity provider), [`keys`]
//! (those that last), [`tokens`] (making and revoking), [`roles`] and [`bans`] (what producers made of
//! somebody), [`caller`] (who sent this request), [`origin`] (from where, and how often).
//!
//! What they ask: [`api`] (a room's program and its people), [`rooms`] (those that were made), [`moderation`] (who
//! has to leave), [`recordings`]; [`views`] (what is answered), in pages of [`paging`], with the tags of
//! [`tags`]; [`fields`] (what is sent); [`openapi`] (what describes it all).
//!
//! What is told and kept: [`events`] (what happens, as it happens), [`webhooks`] (the same, sent to who asked),
//! [`audit`] (what was commanded), [`idempotency`] (so that it is done once), [`people`] (whom to forget),
//! [`db`] (what outlives the server). [`core`] decides without I/O.

pub mod api;
pub mod audit;
pub mod auth;
pub mod bans;
pub mod caller;
pub mod core;
pub mod db;
pub mod events;
pub mod fields;
pub mod idempotency;
pub mod issuer;
pub mod keys;
pub mod moderation;
pub mod openapi;
pub mod origin;
pub mod paging;
pub mod participants;
pub mod people;
pub mod recordings;
pub mod roles;
pub mod rooms;
pub mod tags;
pub mod tokens;
pub mod views;
pub mod webhooks;
