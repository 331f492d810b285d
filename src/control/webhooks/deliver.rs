//! Sends what waits to one webhook, in each room's order, until it is taken or given up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::Utc;
use futures::future::join_all;
use http::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Notify;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::store::{Delivery, Refusal};
use super::{Webhook, Webhooks};
use crate::control::core::{address, retry};

/// A receiver is to put it down and answer; what takes longer is done after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Rooms whose events are sent to one webhook at the same time.
const AT_ONCE: i64 = 8;
/// While the database is away.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Of why it was not taken.
const MAX_ERROR_CHARS: usize = 200;

/// Signs and sends.
pub struct Courier {
    client: reqwest::Client,
    allow_private: bool,
}

enum Outcome {
    Taken,
    /// The receiver wants nothing any more (410).
    Gone,
    Refused(String),
}

impl Courier {
    pub fn new(allow_private: bool) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            // Either could lead to where it may not go.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("Amphi/", env!("CARGO_PKG_VERSION")));
        if !allow_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        Ok(Self {
            client: builder.build().context("no HTTP client")?,
            allow_private,
        })
    }

    /// Why nothing may be sent there.
    pub fn objection(&self, url: &Url) -> Option<String> {
        if !matches!(url.scheme(), "https" | "http") {
            return Some("url must begin with https:// or http://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some("url may hold no user and no password".to_owned());
        }
        let address: Option<IpAddr> = match url.host()? {
            url::Host::Ipv4(v4) => Some(v4.into()),
            url::Host::Ipv6(v6) => Some(v6.into()),
            url::Host::Domain(_) => None,
        };
        let is_inside = address.is_some_and(|address| !address::is_public(address));
        (is_inside && !self.allow_private).then(|| {
            "url leads into the own network; webhooks.allow_private_addresses allows that"
                .to_owned()
        })
    }

    async fn send(&self, webhook: &Webhook, delivery: &Delivery) -> Outcome {
        // The setting may have changed since it was made.
        if let Some(objection) = self.objection(&webhook.url) {
            return Outcome::Refused(objection);
        }
        let (now, body) = (Utc::now().timestamp(), delivery.body.as_bytes());
        let signed = standardwebhooks::Webhook::new(&webhook.secret)
            .and_then(|key| key.sign(&delivery.id, now, body));
        let signature = match signed {
            Ok(signature) => signature,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let request = self.client.post(webhook.url.clone());
        let request = request
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(delivery.body.clone());
        match request.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Outcome::Taken,
            Ok(StatusCode::GONE) => Outcome::Gone,
            Ok(status) => Outcome::Refused(format!("it answered {status}")),
            Err(error) => Outcome::Refused(said(&error)),
        }
    }
}

/// With what is behind it: reqwest's own words alone only say that it could not.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text.chars().take(MAX_ERROR_CHARS).collect()
}

/// Names that lead into the own network lead nowhere, whatever they led to when they were looked at.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = all.filter(|a| address::is_public(a.ip())).collect();
            if public.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Until the webhook is removed, or the server leaves.
pub async fn keep(webhooks: Arc<Webhooks>, id: Uuid, wake: Arc<Notify>) {
    while let Some(webhook) = webhooks.find(id) {
        let waits = async {
            match send_due(&webhooks, &webhook).await {
                Ok(true) => {}
                Ok(false) => wait(&webhooks, &webhook, &wake).await,
                Err(error) => {
                    warn!(%error, webhook = %id, "the database does not say what is due");
                    tokio::time::sleep(TRY_AGAIN_AFTER).await;
                }
            }
        };
        tokio::select! {
            () = webhooks.stop.cancelled() => return,
            () = waits => {}
        }
    }
}

/// Until something is due.
async fn wait(webhooks: &Webhooks, webhook: &Webhook, wake: &Notify) {
    let due = match webhook.enabled {
        true => webhooks.store.next_due(webhook.id).await.ok().flatten(),
        false => None,
    };
    let is_due = async {
        match due {
            Some(at) => {
                let wait = (at - Utc::now()).to_std().unwrap_or_default();
                // What is due this moment was not a moment before.
                tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wake.notified() => {}
        () = is_due => {}
    }
}

/// Whether anything was.
async fn send_due(webhooks: &Arc<Webhooks>, webhook: &Webhook) -> Result<bool, sqlx::Error> {
    if !webhook.enabled {
        return Ok(false);
    }
    let due = webhooks.store.due(webhook.id, AT_ONCE).await?;
    let sent = due.iter().map(async |delivery| {
        let outcome = webhooks.courier.send(webhook, delivery).await;
        settle(webhooks, webhook, delivery, outcome).await
    });
    for settled in join_all(sent).await {
        settled?;
    }
    Ok(!due.is_empty())
}

async fn settle(
    webhooks: &Arc<Webhooks>,
    webhook: &Webhook,
    delivery: &Delivery,
    outcome: Outcome,
) -> Result<(), sqlx::Error> {
    let error = match outcome {
        Outcome::Taken => {
            count("taken");
            return webhooks.store.taken(webhook.id, delivery.event).await;
        }
        Outcome::Gone => {
            info!(webhook = %webhook.id, "a receiver wants nothing any more (410)");
            let disabled = Webhook {
                enabled: false,
                ..webhook.clone()
            };
            webhooks.store.change(&disabled).await?;
            webhooks.change(disabled);
            "it answered 410 Gone".to_owned()
        }
        Outcome::Refused(error) => error,
    };
    let attempts = delivery.attempts.saturating_add(1);
    let now = Utc::now();
    let first_at = delivery.first_at.unwrap_or(now);
    let is_over = (now - first_at).to_std().unwrap_or_default() >= retry::GIVE_UP_AFTER;
    let due_at = (!is_over).then(|| now + retry::wait_after(attempts, rand::random()));
    count(if is_over { "given_up" } else { "refused" });
    if is_over || attempts == 1 {
        warn!(webhook = %webhook.id, event = delivery.id, error, given_up = is_over, "a webhook does not take an event");
    }
    let refusal = Refusal {
        attempts,
        first_at,
        due_at,
        error,
    };
    webhooks
        .store
        .refused(webhook.id, delivery.event, &refusal)
        .await
}

fn count(outcome: &'static str) {
    metrics::counter!(crate::metrics::WEBHOOK_ATTEMPTS, "outcome" => outcome).increment(1);
}
