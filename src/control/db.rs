//! What outlives the server: SQLite, or Postgres where the URL says so. The same queries serve both.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use http::{HeaderValue, StatusCode, header};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::problem::Problem;

const MAX_CONNECTIONS: u32 = 8;
/// A request that waits longer is answered that the database is away.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Db {
    pub(super) pool: AnyPool,
}

impl Db {
    /// Opens the database at `url`, or `amphi.db` in `folder` where that is empty, and brings its
    /// tables up to date.
    pub async fn open(url: &str, folder: &Path) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let url = match url {
            "" => {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("{} cannot be made", folder.display()))?;
                sqlite_url(&folder.join("amphi.db"))
            }
            url => url.to_owned(),
        };
        let options = AnyPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_WITHIN)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    if connection.backend_name() == "SQLite" {
                        // Readers and the writer do not wait for each other; what is committed
                        // outlives a power cut.
                        for pragma in [
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA busy_timeout = 5000",
                            "PRAGMA foreign_keys = ON",
                        ] {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                    }
                    Ok(())
                })
            });
        let pool = options
            .connect(&url)
            .await
            .context("the database does not open; check data.database")?;
        sqlx::migrate!("src/control/migrations")
            .run(&pool)
            .await
            .context("the database's tables cannot be brought up to date")?;
        Ok(Self { pool })
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// In a URL, a path's `?`, `#` and `%` mean something else.
fn sqlite_url(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.replace('%', "%25").replace('?', "%3F");
    format!("sqlite://{}?mode=rwc", path.replace('#', "%23"))
}

/// The answer when it does not.
pub(super) fn away(error: sqlx::Error) -> Problem {
    tracing::warn!(%error, "the database does not answer");
    let detail = "the server's database does not answer; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("10"))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

pub(super) fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}
