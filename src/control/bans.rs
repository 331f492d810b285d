//! Who may not come back into a room. Asked at every door, so held in memory too.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::db::{self, Db};
use crate::room::RoomId;

pub struct Bans {
    db: Db,
    banned: RwLock<BTreeMap<(RoomId, String), Ban>>,
}

#[derive(Debug, Clone)]
pub struct Ban {
    /// What they are known by: the `sub` of their token, or `guest:` and what their page chose.
    pub identity: String,
    /// As they were called when they were banned.
    pub name: String,
    pub at: DateTime<Utc>,
}

impl Bans {
    pub async fn open(db: Db) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query("SELECT room, identity, name, banned_ms FROM bans");
        let mut banned = BTreeMap::new();
        for row in rows.fetch_all(&db.pool).await? {
            let room: String = row.try_get("room")?;
            let ban = Ban {
                identity: row.try_get("identity")?,
                name: row.try_get("name")?,
                at: db::time(row.try_get("banned_ms")?),
            };
            // What is no room's name bans nobody.
            if let Ok(room) = room.parse() {
                banned.insert((room, ban.identity.clone()), ban);
            }
        }
        Ok(Self {
            db,
            banned: RwLock::new(banned),
        })
    }

    pub fn is_banned(&self, room: &RoomId, identity: &str) -> bool {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        banned.contains_key(&(room.clone(), identity.to_owned()))
    }

    pub fn of(&self, room: &RoomId) -> Vec<Ban> {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        let of_room = banned.range((room.clone(), String::new())..);
        let of_room = of_room.take_while(|((of, _), _)| of == room);
        of_room.map(|(_, ban)| ban.clone()).collect()
    }

    pub async fn add(&self, room: &RoomId, ban: Ban) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO bans (room, identity, name, banned_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (room, identity) DO NOTHING",
        )
        .bind(room.to_string())
        .bind(ban.identity.clone())
        .bind(ban.name.clone())
        .bind(ban.at.timestamp_millis())
        .execute(&self.db.pool)
        .await?;
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        banned.insert((room.clone(), ban.identity.clone()), ban);
        Ok(())
    }

    /// In how many bans it stood.
    pub async fn forget_name(&self, identity: &str) -> Result<u64, sqlx::Error> {
        let forgotten = sqlx::query("UPDATE bans SET name = '' WHERE identity = $1")
            .bind(identity.to_owned())
            .execute(&self.db.pool)
            .await?;
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        let theirs = banned.values_mut().filter(|ban| ban.identity == identity);
        theirs.for_each(|ban| ban.name.clear());
        Ok(forgotten.rows_affected())
    }

    /// Whether there was one.
    pub async fn lift(&self, room: &RoomId, identity: &str) -> Result<bool, sqlx::Error> {
        sqlx::query("DELETE FROM bans WHERE room = $1 AND identity = $2")
            .bind(room.to_string())
            .bind(identity.to_owned())
            .execute(&self.db.pool)
            .await?;
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        Ok(banned
            .remove(&(room.clone(), identity.to_owned()))
            .is_some())
    }
}
