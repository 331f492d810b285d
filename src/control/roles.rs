//! What a producer made of somebody, in one room, whatever their token says. Asked at every door: the
//! authority holds it, and the database keeps it.

use sqlx::Row;

use super::auth::Authority;
use super::db::{self, Db};
use crate::room::{Role, RoomId};

pub struct Roles {
    db: Db,
    authority: Authority,
}

impl Roles {
    pub async fn open(db: Db, authority: Authority) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query("SELECT room, identity, role FROM roles")
            .fetch_all(&db.pool)
            .await?;
        for row in rows {
            let (room, role): (String, String) = (row.try_get("room")?, row.try_get("role")?);
            if let (Ok(room), Ok(role)) = (room.parse(), role.parse()) {
                authority.grant(room, row.try_get("identity")?, role);
            }
        }
        Ok(Self { db, authority })
    }

    /// They have this role in the room, from now on.
    pub async fn set(&self, room: &RoomId, identity: &str, role: Role) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO roles (room, identity, role, set_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (room, identity) DO UPDATE SET role = $3, set_ms = $4",
        )
        .bind(room.to_string())
        .bind(identity.to_owned())
        .bind(role.name())
        .bind(db::now_ms())
        .execute(&self.db.pool)
        .await?;
        self.authority
            .grant(room.clone(), identity.to_owned(), role);
        Ok(())
    }

    /// All have the roles of their tokens again.
    pub async fn forget(&self, room: &RoomId) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM roles WHERE room = $1")
            .bind(room.to_string())
            .execute(&self.db.pool)
            .await?;
        self.authority.forget_grants(room);
        Ok(())
    }
}
