//! `/api/v1/people`: forgetting someone, where the law or they ask for it.
//!
//! What they did, and what was done, stays in the audit and in events that wait to be taken; who it was does not.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::Row;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::fresh;
use super::audit::Change;
use super::auth::Caller;
use super::bans::Bans;
use super::db::{Db, away};
use super::events::News;
use super::openapi::{Later, Refusals};
use crate::problem::Problem;

/// What stands where somebody was.
const FORGOTTEN: &str = "forgotten";
/// Where an identity stands in JSON: our views have the one, a token's claims the other.
const IDENTITIES: [&str; 2] = ["identity", "sub"];

#[derive(Clone)]
struct Api {
    db: Db,
    bans: Arc<Bans>,
    news: Arc<News>,
}

pub fn routes(db: Db, bans: Arc<Bans>, news: Arc<News>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(forget))
        .with_state(Api { db, bans, news })
}

/// In how many places somebody was
#[derive(Debug, Serialize, ToSchema)]
struct Forgotten {
    audit: u64,
    events: u64,
    bans: u64,
}

/// Forgets someone: their identity, name and address in the audit, in events, and the names in bans
///
/// A ban stays, by the identity alone: lift it, and that is gone, too. Recordings are deleted by their own
/// routes, or with time. Who is in a room now is put down anew by what they do.
#[utoipa::path(
    delete,
    path = "/api/v1/people/{identity}",
    tag = "audit",
    params(("identity" = String, Path, description = "The `sub` of their tokens")),
    responses((status = 200, body = Forgotten), Refusals, Later)
)]
async fn forget(
    State(api): State<Api>,
    caller: Caller,
    Path(identity): Path<String>,
) -> Result<Response, Problem> {
    caller.directs(None)?;
    let forgotten = Forgotten {
        audit: api.forget_in_audit(&identity).await.map_err(away)?,
        events: api.forget_in_events(&identity).await.map_err(away)?,
        bans: api.bans.forget_name(&identity).await.map_err(away)?,
    };
    api.news.forget(&identity);
    Ok(Change::default().about(FORGOTTEN).on(fresh(forgotten)))
}

impl Api {
    async fn forget_in_audit(&self, identity: &str) -> Result<u64, sqlx::Error> {
        let mut all = self.db.pool.begin().await?;
        let by_them = sqlx::query(
            "UPDATE audit SET identity = $2, name = NULL, address = NULL WHERE identity = $1",
        );
        let by_them = by_them.bind(identity.to_owned()).bind(FORGOTTEN);
        let mut count = by_them.execute(&mut *all).await?.rows_affected();
        let about_them = sqlx::query("UPDATE audit SET target = $2 WHERE target = $1");
        let about_them = about_them.bind(identity.to_owned()).bind(FORGOTTEN);
        count += about_them.execute(&mut *all).await?.rows_affected();
        let rows = sqlx::query(
            "SELECT id, before, after FROM audit
             WHERE before LIKE $1 ESCAPE '!' OR after LIKE $1 ESCAPE '!'",
        );
        let rows = rows.bind(pattern(identity)).fetch_all(&mut *all).await?;
        for row in rows {
            let masked = |column| {
                let text: Option<String> = row.try_get(column)?;
                Ok::<_, sqlx::Error>(text.map(|text| without(&text, identity)))
            };
            let changed = sqlx::query("UPDATE audit SET before = $2, after = $3 WHERE id = $1")
                .bind(row.try_get::<String, _>("id")?)
                .bind(masked("before")?)
                .bind(masked("after")?)
                .execute(&mut *all)
                .await?;
            count += changed.rows_affected();
        }
        all.commit().await?;
        Ok(count)
    }

    async fn forget_in_events(&self, identity: &str) -> Result<u64, sqlx::Error> {
        let mut all = self.db.pool.begin().await?;
        let rows = sqlx::query("SELECT number, body FROM events WHERE body LIKE $1 ESCAPE '!'");
        let rows = rows.bind(pattern(identity)).fetch_all(&mut *all).await?;
        for row in &rows {
            let body: String = row.try_get("body")?;
            sqlx::query("UPDATE events SET body = $2 WHERE number = $1")
                .bind(row.try_get::<i64, _>("number")?)
                .bind(without(&body, identity))
                .execute(&mut *all)
                .await?;
        }
        all.commit().await?;
        Ok(rows.len() as u64)
    }
}

/// Of texts that may hold it, as JSON has it.
fn pattern(identity: &str) -> String {
    let text = Value::from(identity).to_string();
    let escaped = text
        .replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_");
    format!("%{escaped}%")
}

fn without(text: &str, identity: &str) -> String {
    match serde_json::from_str(text) {
        Ok(mut value) => {
            mask(&mut value, identity);
            Value::to_string(&value)
        }
        Err(_) => text.to_owned(),
    }
}

/// Takes the name away wherever the identity stands beside it.
fn mask(value: &mut Value, identity: &str) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| mask(one, identity)),
        Value::Object(fields) => {
            let is_them = |fields: &Map<String, Value>| {
                let mut known = IDENTITIES.iter().filter_map(|key| fields.get(*key));
                known.any(|known| known == identity)
            };
            if is_them(fields) {
                for key in IDENTITIES.iter().chain(&["name"]) {
                    if let Some(value) = fields.get_mut(*key) {
                        *value = FORGOTTEN.into();
                    }
                }
            }
            fields.values_mut().for_each(|one| mask(one, identity));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_go_with_their_identity_and_nobody_elses() {
        let mut value = json!({
            "items": [{"identity": "ada", "name": "Ada"}, {"identity": "bob", "name": "Bob"}],
            "claims": {"sub": "ada", "name": "Ada", "room": "ada"},
            "name": "ada",
        });
        mask(&mut value, "ada");
        let left = json!({
            "items": [{"identity": "forgotten", "name": "forgotten"}, {"identity": "bob", "name": "Bob"}],
            "claims": {"sub": "forgotten", "name": "forgotten", "room": "ada"},
            "name": "ada",
        });
        assert_eq!(value, left);
        assert_eq!(without("no JSON", "ada"), "no JSON");
        assert_eq!(pattern("50%_\"!"), "%\"50!%!_\\\"!!\"%");
    }
}
