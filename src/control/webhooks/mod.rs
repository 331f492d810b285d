//! Webhooks (Standard Webhooks 1.0.0): what happens in the rooms, sent to those who asked for it.
//!
//! [`store`] keeps who asked and what they are still to be told; [`outbox`] puts down what happens;
//! [`deliver`] sends it, again and again; [`api`] is how it is asked for.
//!
//! An event is on its way once it is in the database: a room never waits for that, but who commands by the
//! API is answered after it ([`settle`]). A server that dies goes on where it was, and the next one tells what
//! ended with it. Events of one room are taken in order, each at least once.

pub mod api;
mod deliver;
mod outbox;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::Method;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use url::Url;
use uuid::Uuid;

use self::deliver::Courier;
use self::store::{Lasting, Store};
use super::db::Db;
use super::events::{Happened, News};
use crate::room::{BroadcastId, RoomId};

/// More are refused: each is told of every event.
const MAX_WEBHOOKS: usize = 200;

/// A command whose events are not put down by then is answered all the same.
const SETTLE_WITHIN: Duration = Duration::from_secs(2);

/// Around routes: who commands is answered when what came of it is put down.
pub async fn settle(
    State(webhooks): State<Arc<Webhooks>>,
    request: Request,
    next: Next,
) -> Response {
    let is_command = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let response = next.run(request).await;
    if is_command && response.status().is_success() {
        webhooks.settled().await;
    }
    response
}

/// Who asked to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub id: Uuid,
    pub url: Url,
    /// `whsec_` and base64.
    pub secret: String,
    /// `None`: of all rooms.
    pub room: Option<RoomId>,
    /// Types; empty: all.
    pub events: Vec<String>,
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
}

impl Webhook {
    fn wants(&self, room: &RoomId, kind: &str) -> bool {
        let of_type = self.events.is_empty() || self.events.iter().any(|wanted| wanted == kind);
        let of_room = self.room.as_ref().is_none_or(|own| own == room);
        self.enabled && of_type && of_room
    }
}

/// All webhooks of this server, at work.
pub struct Webhooks {
    store: Store,
    courier: Courier,
    /// Those in the store.
    known: RwLock<BTreeMap<Uuid, Known>>,
    /// One change at a time: each is of what the one before left.
    turn: tokio::sync::Mutex<()>,
    senders: TaskTracker,
    stop: CancellationToken,
    news: Arc<News>,
    /// All news up to this number are in the database.
    put_down: watch::Sender<u64>,
    /// Broadcasts of a server before that may have left a recording that nobody was told of.
    untold: Vec<(RoomId, BroadcastId)>,
}

struct Known {
    webhook: Arc<Webhook>,
    /// Wakes who sends to it.
    wake: Arc<Notify>,
}

impl Webhooks {
    /// Goes on with what is in the database.
    pub async fn start(
        db: Db,
        news: &Arc<News>,
        allow_private_addresses: bool,
    ) -> anyhow::Result<Arc<Self>> {
        let store = Store::new(db).await?;
        let open = store.still_open().await?;
        let recordings = open.iter().filter(|one| one.what == Lasting::Recording);
        let untold = recordings.filter_map(|one| Some((one.room.clone(), one.id.parse().ok()?)));
        let webhooks = Arc::new(Self {
            untold: untold.collect(),
            news: news.clone(),
            put_down: watch::Sender::default(),
            store,
            courier: Courier::new(allow_private_addresses)?,
            known: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
            senders: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        for webhook in webhooks.store.all().await? {
            webhooks.know(webhook);
        }
        let outbox = outbox::keep(webhooks.clone(), news.reader());
        webhooks.senders.spawn(outbox);
        for one in &open {
            if let Some(happened) = outbox::end_of(one) {
                news.tell(&one.room, happened);
            }
        }
        Ok(webhooks)
    }

    /// Broadcasts of a server before whose recordings nobody was told of: `recording.completed` is due once
    /// they are.
    pub fn untold(&self) -> &[(RoomId, BroadcastId)] {
        &self.untold
    }

    /// Waits until what happened so far outlives the server.
    async fn settled(&self) {
        let newest = self.news.newest();
        let mut put_down = self.put_down.subscribe();
        let settled = put_down.wait_for(|number| *number >= newest);
        if tokio::time::timeout(SETTLE_WITHIN, settled).await.is_err() {
            warn!("the database is slow: what happens is not yet put down for webhooks");
        }
    }

    /// Puts down what was told until `News::close`, and sends no more. What was not taken by then is
    /// sent after the next start.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.senders.close();
        self.senders.wait().await;
    }

    fn know(self: &Arc<Self>, webhook: Webhook) {
        let (id, wake) = (webhook.id, Arc::new(Notify::new()));
        let one = Known {
            webhook: Arc::new(webhook),
            wake: wake.clone(),
        };
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, one);
        self.senders.spawn(deliver::keep(self.clone(), id, wake));
    }

    /// Who sends to it leaves when it is woken.
    fn forget(&self, id: Uuid) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = known.remove(&id) {
            gone.wake.notify_one();
        }
    }

    fn change(&self, webhook: Webhook) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(&webhook.id) {
            known.webhook = Arc::new(webhook);
            known.wake.notify_one();
        }
    }

    fn find(&self, id: Uuid) -> Option<Arc<Webhook>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).map(|known| known.webhook.clone())
    }

    /// In the order they were made.
    fn all(&self) -> Vec<Arc<Webhook>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|one| one.webhook.clone()).collect()
    }

    fn wake(&self, id: Uuid) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&id) {
            known.wake.notify_one();
        }
    }
}

/// Its `type`, as it is told.
fn kind(happened: &Happened) -> String {
    let told = serde_json::to_value(happened).unwrap_or_default();
    told["type"].as_str().unwrap_or_default().to_owned()
}
