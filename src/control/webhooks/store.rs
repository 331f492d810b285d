//! Webhooks and their outbox in the database.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::Webhook;
use crate::control::db::{self, Db};
use crate::room::RoomId;

/// What was sent or given up is kept so long, to be replayed.
const KEPT_DAYS: i64 = 7;

pub struct Store {
    db: Db,
    /// The number of the next event. Only the outbox counts.
    next: tokio::sync::Mutex<i64>,
}

/// Something that happened, for those who want it.
pub struct Letter {
    pub room: RoomId,
    pub kind: String,
    pub at: DateTime<Utc>,
    pub body: String,
    pub to: Vec<Uuid>,
}

/// What lasts from one event to another. The names are the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    Participant,
    Broadcast,
    Recording,
}

impl Lasting {
    const ALL: [Self; 3] = [Self::Participant, Self::Broadcast, Self::Recording];

    fn name(self) -> &'static str {
        match self {
            Self::Participant => "participant",
            Self::Broadcast => "broadcast",
            Self::Recording => "recording",
        }
    }
}

/// Something that began, or ended.
pub struct Turn {
    pub what: Lasting,
    pub id: String,
    pub room: RoomId,
    pub begins: bool,
}

/// One event that is due to one webhook.
pub struct Delivery {
    pub event: i64,
    /// The same at every attempt, and in a replay.
    pub id: String,
    pub body: String,
    pub attempts: u32,
    /// Of the first attempt, if there was one.
    pub first_at: Option<DateTime<Utc>>,
}

/// What became of a delivery that was not taken.
pub struct Refusal {
    pub attempts: u32,
    pub first_at: DateTime<Utc>,
    /// `None`: it is given up.
    pub due_at: Option<DateTime<Utc>>,
    pub error: String,
}

/// One delivery that is waiting or was given up.
pub struct Pending {
    pub event: i64,
    pub id: String,
    pub room: String,
    pub kind: String,
    pub at: DateTime<Utc>,
    pub state: String,
    pub attempts: u32,
    pub due_at: DateTime<Utc>,
    pub error: Option<String>,
}

type Done<T> = Result<T, sqlx::Error>;

impl Store {
    pub async fn new(db: Db) -> Done<Self> {
        let (last,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) FROM events")
            .fetch_one(&db.pool)
            .await?;
        Ok(Self {
            db,
            next: tokio::sync::Mutex::new(last + 1),
        })
    }

    pub async fn all(&self) -> Done<Vec<Webhook>> {
        let rows = sqlx::query(
            "SELECT id, url, secret, room, events, enabled, created_ms FROM webhooks ORDER BY id",
        );
        let rows = rows.fetch_all(&self.db.pool).await?;
        rows.iter().map(webhook).collect()
    }

    pub async fn add(&self, webhook: &Webhook) -> Done<()> {
        let added = sqlx::query(
            "INSERT INTO webhooks (id, url, secret, room, events, enabled, created_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        );
        added
            .bind(webhook.id.to_string())
            .bind(webhook.url.to_string())
            .bind(webhook.secret.clone())
            .bind(webhook.room.as_ref().map(ToString::to_string))
            .bind(serde_json::json!(webhook.events).to_string())
            .bind(i64::from(webhook.enabled))
            .bind(webhook.created_at.timestamp_millis())
            .execute(&self.db.pool)
            .await?;
        Ok(())
    }

    /// Its URL, its events, and whether it is enabled.
    pub async fn change(&self, webhook: &Webhook) -> Done<()> {
        sqlx::query("UPDATE webhooks SET url = $2, events = $3, enabled = $4 WHERE id = $1")
            .bind(webhook.id.to_string())
            .bind(webhook.url.to_string())
            .bind(serde_json::json!(webhook.events).to_string())
            .bind(i64::from(webhook.enabled))
            .execute(&self.db.pool)
            .await?;
        Ok(())
    }

    /// With all that it was still to be told.
    pub async fn remove(&self, webhook: Uuid) -> Done<()> {
        let mut all = self.db.pool.begin().await?;
        for statement in [
            "DELETE FROM deliveries WHERE webhook = $1",
            "DELETE FROM webhooks WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(webhook.to_string())
                .execute(&mut *all)
                .await?;
        }
        all.commit().await
    }

    /// All of them or none.
    pub async fn post(&self, letters: &[Letter], turns: &[Turn]) -> Done<()> {
        let mut next = self.next.lock().await;
        let (mut number, now) = (*next, db::now_ms());
        let mut all = self.db.pool.begin().await?;
        for turn in turns {
            let statement = match turn.begins {
                true => {
                    "INSERT INTO still_open (kind, id, room, since_ms) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (kind, id) DO NOTHING"
                }
                false => {
                    "DELETE FROM still_open WHERE kind = $1 AND id = $2 AND room = $3 AND since_ms <= $4"
                }
            };
            sqlx::query(statement)
                .bind(turn.what.name())
                .bind(turn.id.clone())
                .bind(turn.room.to_string())
                .bind(now)
                .execute(&mut *all)
                .await?;
        }
        for letter in letters {
            sqlx::query(
                "INSERT INTO events (number, id, room, type, at_ms, body)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(number)
            .bind(format!("evt_{}", Uuid::now_v7().simple()))
            .bind(letter.room.to_string())
            .bind(letter.kind.clone())
            .bind(letter.at.timestamp_millis())
            .bind(letter.body.clone())
            .execute(&mut *all)
            .await?;
            for webhook in &letter.to {
                // None for a webhook that was removed in the meantime.
                sqlx::query(
                    "INSERT INTO deliveries (webhook, event, room, state, attempts, due_ms)
                     SELECT id, $2, $3, 'waiting', 0, $4 FROM webhooks WHERE id = $1",
                )
                .bind(webhook.to_string())
                .bind(number)
                .bind(letter.room.to_string())
                .bind(now)
                .execute(&mut *all)
                .await?;
            }
            number += 1;
        }
        all.commit().await?;
        *next = number;
        Ok(())
    }

    /// What began and has not ended, in order.
    pub async fn still_open(&self) -> Done<Vec<Turn>> {
        let rows = sqlx::query("SELECT kind, id, room FROM still_open ORDER BY since_ms, id")
            .fetch_all(&self.db.pool)
            .await?;
        let mut open = Vec::new();
        for row in &rows {
            let kind: String = row.try_get("kind")?;
            let what = Lasting::ALL.into_iter().find(|what| what.name() == kind);
            let room: String = row.try_get("room")?;
            if let (Some(what), Ok(room)) = (what, room.parse()) {
                open.push(Turn {
                    what,
                    id: row.try_get("id")?,
                    room,
                    begins: false,
                });
            }
        }
        Ok(open)
    }

    /// The first that waits of each room, where it is due: what is behind it waits for it.
    pub async fn due(&self, webhook: Uuid, most: i64) -> Done<Vec<Delivery>> {
        let rows = sqlx::query(
            "SELECT d.event, e.id, e.body, d.attempts, d.first_ms
             FROM (SELECT MIN(event) AS event FROM deliveries
                   WHERE webhook = $1 AND state = 'waiting' GROUP BY room) first
             JOIN deliveries d ON d.webhook = $1 AND d.event = first.event
             JOIN events e ON e.number = d.event
             WHERE d.due_ms <= $2 ORDER BY d.event LIMIT $3",
        );
        let rows = rows
            .bind(webhook.to_string())
            .bind(db::now_ms())
            .bind(most)
            .fetch_all(&self.db.pool)
            .await?;
        let deliveries = rows.iter().map(|row| {
            Ok(Delivery {
                event: row.try_get("event")?,
                id: row.try_get("id")?,
                body: row.try_get("body")?,
                attempts: count(row, "attempts")?,
                first_at: row.try_get::<Option<i64>, _>("first_ms")?.map(db::time),
            })
        });
        deliveries.collect()
    }

    /// When something is due next. What waits behind another of its room is due no sooner.
    pub async fn next_due(&self, webhook: Uuid) -> Done<Option<DateTime<Utc>>> {
        let next: (Option<i64>,) = sqlx::query_as(
            "SELECT MIN(d.due_ms)
             FROM (SELECT MIN(event) AS event FROM deliveries
                   WHERE webhook = $1 AND state = 'waiting' GROUP BY room) first
             JOIN deliveries d ON d.webhook = $1 AND d.event = first.event",
        )
        .bind(webhook.to_string())
        .fetch_one(&self.db.pool)
        .await?;
        Ok(next.0.map(db::time))
    }

    pub async fn taken(&self, webhook: Uuid, event: i64) -> Done<()> {
        sqlx::query("DELETE FROM deliveries WHERE webhook = $1 AND event = $2")
            .bind(webhook.to_string())
            .bind(event)
            .execute(&self.db.pool)
            .await?;
        Ok(())
    }

    pub async fn refused(&self, webhook: Uuid, event: i64, refusal: &Refusal) -> Done<()> {
        let state = match refusal.due_at {
            Some(_) => "waiting",
            None => "dead",
        };
        let due = refusal.due_at.unwrap_or(refusal.first_at);
        sqlx::query(
            "UPDATE deliveries SET state = $3, attempts = $4, first_ms = $5, due_ms = $6, error = $7
             WHERE webhook = $1 AND event = $2",
        )
        .bind(webhook.to_string())
        .bind(event)
        .bind(state)
        .bind(i64::from(refusal.attempts))
        .bind(refusal.first_at.timestamp_millis())
        .bind(due.timestamp_millis())
        .bind(refusal.error.clone())
        .execute(&self.db.pool)
        .await?;
        Ok(())
    }

    /// What is not taken, in order, from behind `after`.
    pub async fn pending(&self, webhook: Uuid, after: i64, most: i64) -> Done<Vec<Pending>> {
        let rows = sqlx::query(
            "SELECT d.event, e.id, d.room, e.type, e.at_ms, d.state, d.attempts, d.due_ms, d.error
             FROM deliveries d JOIN events e ON e.number = d.event
             WHERE d.webhook = $1 AND d.event > $2 ORDER BY d.event LIMIT $3",
        );
        let rows = rows
            .bind(webhook.to_string())
            .bind(after)
            .bind(most)
            .fetch_all(&self.db.pool)
            .await?;
        let pending = rows.iter().map(|row| {
            Ok(Pending {
                event: row.try_get("event")?,
                id: row.try_get("id")?,
                room: row.try_get("room")?,
                kind: row.try_get("type")?,
                at: db::time(row.try_get("at_ms")?),
                state: row.try_get("state")?,
                attempts: count(row, "attempts")?,
                due_at: db::time(row.try_get("due_ms")?),
                error: row.try_get("error")?,
            })
        });
        pending.collect()
    }

    /// Makes due at once what waits or was given up; and, from `since` on, what was taken too.
    pub async fn replay(&self, webhook: &Webhook, since: Option<DateTime<Utc>>) -> Done<u64> {
        let (id, now) = (webhook.id.to_string(), db::now_ms());
        let mut all = self.db.pool.begin().await?;
        let again = sqlx::query(
            "UPDATE deliveries SET state = 'waiting', attempts = 0, first_ms = NULL, due_ms = $2
             WHERE webhook = $1",
        );
        let again = again.bind(id.clone()).bind(now).execute(&mut *all).await?;
        let mut count = again.rows_affected();
        if let Some(since) = since {
            let room = webhook.room.as_ref().map(ToString::to_string);
            let wanted = webhook.events.iter().map(String::as_str);
            // A list of types cannot be bound in both databases alike.
            let types = wanted.fold(",".to_owned(), |types, kind| types + kind + ",");
            let anew = sqlx::query(
                "INSERT INTO deliveries (webhook, event, room, state, attempts, due_ms)
                 SELECT $1, e.number, e.room, 'waiting', 0, $2 FROM events e
                 WHERE e.at_ms >= $3 AND ($4 = '' OR e.room = $4)
                   AND ($5 = ',' OR $5 LIKE '%,' || e.type || ',%')
                   AND NOT EXISTS (SELECT 1 FROM deliveries d
                                   WHERE d.webhook = $1 AND d.event = e.number)",
            );
            let anew = anew
                .bind(id)
                .bind(now)
                .bind(since.timestamp_millis())
                .bind(room.unwrap_or_default())
                .bind(types)
                .execute(&mut *all)
                .await?;
            count += anew.rows_affected();
        }
        all.commit().await?;
        Ok(count)
    }

    /// Forgets what is too old to be replayed, and waits for nobody.
    pub async fn forget_old(&self) -> Done<()> {
        let before = db::now_ms() - KEPT_DAYS * 24 * 3600 * 1000;
        let mut all = self.db.pool.begin().await?;
        for statement in [
            // Of a broadcast that was not recorded.
            "DELETE FROM still_open WHERE kind = 'recording' AND since_ms < $1",
            "DELETE FROM deliveries WHERE state = 'dead'
             AND event IN (SELECT number FROM events WHERE at_ms < $1)",
            "DELETE FROM events WHERE at_ms < $1
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = number)",
        ] {
            sqlx::query(statement)
                .bind(before)
                .execute(&mut *all)
                .await?;
        }
        all.commit().await
    }
}

fn count(row: &AnyRow, column: &str) -> Done<u32> {
    Ok(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX))
}

fn webhook(row: &AnyRow) -> Done<Webhook> {
    let text = |column| row.try_get::<String, _>(column);
    let unreadable =
        |column: &str, error: Box<dyn std::error::Error + Send + Sync>| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: error,
        };
    let room: Option<String> = row.try_get("room")?;
    let room = room.map(|room| room.parse()).transpose();
    Ok(Webhook {
        id: text("id")?
            .parse()
            .map_err(|e: uuid::Error| unreadable("id", e.into()))?,
        url: text("url")?
            .parse()
            .map_err(|e: url::ParseError| unreadable("url", e.into()))?,
        secret: text("secret")?,
        room: room.map_err(|e: crate::room::id::InvalidRoomId| unreadable("room", e.into()))?,
        events: serde_json::from_str(&text("events")?)
            .map_err(|e| unreadable("events", e.into()))?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        created_at: db::time(row.try_get("created_ms")?),
    })
}
