//! One attendee of many: a session at `/rtc/{room}` that answers what the server offers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::peer::{Counts, Peer, credentials};
use crate::rtc::core::dtls::Identity;
use crate::rtc::core::sdp::agreement::{IceCredentials, Media};
use crate::rtc::core::sdp::client::ClientAnswer;

/// Until the socket is open, and at the end, until the server closed it.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What of the server's messages matters here; their fields are documented with the server's own.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Heard {
    Offer {
        number: u64,
        fresh: bool,
        sdp: String,
    },
    Refused {
        status: u16,
        detail: String,
    },
    #[serde(other)]
    Other,
}

/// Who attends.
pub struct Attendee {
    /// No two are one participant.
    pub name: String,
    pub token: Option<String>,
    pub identity: Arc<Identity>,
}

/// A connection that runs, and how it is told of changes.
struct Running {
    ice: IceCredentials,
    changes: mpsc::Sender<Vec<Media>>,
    counts: JoinHandle<std::io::Result<Counts>>,
}

impl Attendee {
    /// Joins, and takes what is offered until `until`; what it counted, of all its connections.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, refuses, or offers what cannot be answered.
    pub async fn attend(self, url: &str, until: Instant) -> anyhow::Result<Counts> {
        let opened = tokio::time::timeout(OPEN_WITHIN, connect_async(url)).await;
        let (mut socket, _) = opened
            .context("the server does not answer")?
            .with_context(|| format!("a session at {url}"))?;
        let join = json!({
            "type": "join", "name": self.name, "identity": self.name, "token": self.token,
        });
        socket.send(Message::text(join.to_string())).await?;
        let mut running: Vec<Running> = Vec::new();
        let ended = self.listen(&mut socket, &mut running, until).await;
        let _ = socket
            .send(Message::text(json!({ "type": "leave" }).to_string()))
            .await;
        let _ = tokio::time::timeout(CLOSE_WITHIN, socket.close(None)).await;
        ended?;
        let mut all = Counts::default();
        for Running { counts, .. } in running {
            all.add(counts.await??);
        }
        Ok(all)
    }

    async fn listen(
        &self,
        socket: &mut Socket,
        running: &mut Vec<Running>,
        until: Instant,
    ) -> anyhow::Result<()> {
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                () = tokio::time::sleep_until(until.into()) => return Ok(()),
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => bail!("the server ended the session"),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(error).context("the session's socket"),
            };
            match serde_json::from_str(&text).context("a message of the server")? {
                Heard::Offer { number, fresh, sdp } => {
                    let answer = self.answer(&sdp, fresh, running, until).await?;
                    let answer = json!({ "type": "answer", "number": number, "sdp": answer });
                    socket.send(Message::text(answer.to_string())).await?;
                }
                Heard::Refused { status, detail } => bail!("{status}: {detail}"),
                Heard::Other => {}
            }
        }
    }

    /// A fresh offer begins another connection, any other changes the newest one.
    async fn answer(
        &self,
        offer: &str,
        fresh: bool,
        running: &mut Vec<Running>,
        until: Instant,
    ) -> anyhow::Result<String> {
        let fingerprint = &self.identity.fingerprint;
        if let Some(newest) = running.last_mut().filter(|_| !fresh) {
            let answer = ClientAnswer::new(offer, newest.ice.clone(), fingerprint)?;
            // Ended: then a fresh offer follows.
            let _ = newest.changes.send(answer.agreement.media).await;
            return Ok(answer.text);
        }
        let ice = credentials();
        let answer = ClientAnswer::new(offer, ice.clone(), fingerprint)?;
        let mut peer = Peer::new(self.identity.clone(), answer.agreement, answer.server);
        running.push(Running {
            ice,
            changes: peer.changes(),
            counts: tokio::spawn(peer.run(None, until)),
        });
        Ok(answer.text)
    }
}
