//! WHO MAY, and the API that producers and pages use.
//!
//! Read [`auth`] (tokens and what they allow; [`issuer`]: those of others, [`keys`]: those for long, [`caller`]:
//! who asks), then [`api`] (the routes), [`rooms`] (those that were made), [`recordings`], [`views`] (what
//! they answer, in pages of [`paging`], with the tags of [`tags`]), [`openapi`] (what describes them), [`events`] (what happens, as it happens) and [`webhooks`] (the same,
//! sent to who asked). [`moderation`] is who has to leave, and [`bans`] who may not come back, [`roles`] who became what; [`audit`] is what
//! was commanded, [`idempotency`] how it is carried out once, [`people`] how someone is forgotten, [`origin`]
//! where requests come from and how often. [`db`] is what outlives the server; [`core`] what is decided without I/O.

pub mod api;
pub mod audit;
pub mod auth;
pub mod bans;
pub mod caller;
pub mod core;
pub mod db;
pub mod events;
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
