//! The API's own description, made of the routes themselves: OpenAPI 3.1 at `/api/openapi.json`.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::events::Happened;
use crate::problem::Problem;

/// RFC 9457.
pub const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Amphi",
        description = "Rooms, who is in them, the program that their audience sees, and its recordings. \
                       Every refusal is a problem (RFC 9457) whose `detail` says what to do.\n\n\
                       Send a token, or an API key, as `Authorization: Bearer`; `amphi token` makes the first. \
                       A server that runs with --dev asks for none.\n\n\
                       Lists come in pages: `next` of one is `cursor` of the one that follows.\n\n\
                       A POST with an `Idempotency-Key` of your choice is carried out once: sent again within \
                       a day, with the same token and body, it is answered as the first time.\n\n\
                       A private room is watched at `/with/{token}/live/{room}/index.m3u8`, its recordings at \
                       `/with/{token}/vod/{recording}/index.m3u8`, in every player: all that playlists name lies \
                       below. Players that send headers may send the token as such instead.",
    ),
    tags(
        (name = "rooms", description = "Who is where, and how well"),
        (name = "program", description = "What the audience sees"),
        (name = "recordings", description = "What was broadcast"),
        (name = "events", description = "What happens, as it happens"),
        (name = "tokens", description = "Who is let in, for how long, and with what"),
        (name = "audit", description = "What was commanded, and by whom"),
        (name = "webhooks", description = "The same, sent to who asked for it"),
    ),
    security(("token" = [])),
    modifiers(&Tokens),
)]
struct Description;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "`amphi token` makes one; a server in --dev asks for none",
            ))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// Those routes, and what describes them on this server.
pub fn described(routes: OpenApiRouter, layouts: &[String], ladders: &[String]) -> Router {
    let whole = OpenApiRouter::with_openapi(Description::openapi()).merge(routes);
    let (router, description) = whole.split_for_parts();
    let mut description = json!(description);
    let nothing = json!(null);
    let names = layouts.iter().map(|name| json!(name)).chain([nothing]);
    let names: Value = names.collect();
    for change in ["ProgramChange", "PreviewChange"] {
        let properties = &mut description["components"]["schemas"][change]["properties"];
        properties["layout"]["enum"] = names.clone();
    }
    let settings = &mut description["components"]["schemas"]["RoomSettings"]["properties"];
    settings["layout"]["enum"] = json!(layouts);
    let names = ladders.iter().map(|name| json!(name)).chain([json!(null)]);
    settings["ladder"]["enum"] = names.collect();
    for schema in ["NewWebhook", "WebhookChange"] {
        let properties = &mut description["components"]["schemas"][schema]["properties"];
        properties["events"]["items"]["enum"] = json!(Happened::TYPES);
    }
    // A map's keys have no type of their own in utoipa.
    let preview = &mut description["components"]["schemas"]["PreviewChange"]["properties"];
    preview["on_stage"]["propertyNames"] = json!({"type": "string", "format": "uuid"});
    router.route(
        "/api/openapi.json",
        get(move || std::future::ready(Json(description.clone()))),
    )
}

// What an answer may be; nobody makes these.

#[derive(IntoResponses)]
pub enum Refusals {
    /// No token, or none that is good
    #[response(status = 401, content_type = PROBLEM)]
    Unauthorized(Problem),
    /// A token for another room, or a role that may not
    #[response(status = 403, content_type = PROBLEM)]
    Forbidden(Problem),
    /// Too many requests of one address
    #[response(status = 429, content_type = PROBLEM)]
    Limited(Problem),
}

#[derive(IntoResponses)]
pub enum Limited {
    /// Too many requests of one address
    #[response(status = 429, content_type = PROBLEM)]
    Limited(Problem),
}

#[derive(IntoResponses)]
pub enum NotThere {
    /// There is no such thing
    #[response(status = 404, content_type = PROBLEM)]
    NotThere(Problem),
}

#[derive(IntoResponses)]
pub enum Conflict {
    /// Not as things are now
    #[response(status = 409, content_type = PROBLEM)]
    Conflict(Problem),
}

#[derive(IntoResponses)]
pub enum Changed {
    /// Not as `If-Match` or `If-None-Match` has it
    #[response(status = 412, content_type = PROBLEM)]
    Changed(Problem),
}

#[derive(IntoResponses)]
pub enum Later {
    /// Not now; try again later
    #[response(status = 503, content_type = PROBLEM)]
    Later(Problem),
}

#[derive(IntoResponses)]
pub enum Unreadable {
    /// No JSON
    #[response(status = 400, content_type = PROBLEM)]
    Bad(Problem),
    /// More than a body may be
    #[response(status = 413, content_type = PROBLEM)]
    Large(Problem),
    /// No `application/json`
    #[response(status = 415, content_type = PROBLEM)]
    Type(Problem),
    /// A field that is unknown, or a value that cannot be
    #[response(status = 422, content_type = PROBLEM)]
    Unprocessable(Problem),
}
