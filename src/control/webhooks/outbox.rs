//! Puts down what happens for those who want it, as it happens.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::store::{Lasting, Letter, Turn};
use super::{Webhooks, kind};
use crate::control::events::{Happened, Read, Reader, Told};

/// While the database is away.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A server that leaves does not wait longer for its database.
const LAST_TRIES: u32 = 5;
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Until the server leaves. What happens waits in the journal, not here.
pub async fn keep(webhooks: Arc<Webhooks>, mut reader: Reader) {
    let mut forgetting = tokio::time::interval(FORGET_EVERY);
    loop {
        let read = tokio::select! {
            read = reader.next() => read,
            _ = forgetting.tick() => {
                if let Err(error) = webhooks.store.forget_old().await {
                    warn!(%error, "old events are not forgotten");
                }
                continue;
            }
        };
        match read {
            None => return,
            Some(Read::Missed) => {
                error!("the database is so slow that webhooks miss events");
            }
            Some(Read::Events(events)) => {
                let told = events.iter().map(|(_, told)| told);
                let letters = told.clone().filter_map(|told| letter(&webhooks, told));
                let letters: Vec<_> = letters.collect();
                let turns: Vec<_> = told.flat_map(|told| turns(told)).collect();
                if !letters.is_empty() || !turns.is_empty() {
                    post(&webhooks, &letters, &turns).await;
                }
            }
        }
        webhooks.put_down.send_replace(reader.number());
    }
}

async fn post(webhooks: &Webhooks, letters: &[Letter], turns: &[Turn]) {
    let mut last_tries = 0;
    while let Err(error) = webhooks.store.post(letters, turns).await {
        if webhooks.stop.is_cancelled() {
            last_tries += 1;
        }
        if last_tries == LAST_TRIES {
            error!(%error, events = letters.len(), "webhooks are never told of the last events");
            return;
        }
        warn!(%error, "events cannot be put down for webhooks yet");
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
    for id in letters.iter().flat_map(|letter| &letter.to) {
        webhooks.wake(*id);
    }
}

/// `None` of what nobody wants.
fn letter(webhooks: &Webhooks, told: &Told) -> Option<Letter> {
    let kind = kind(&told.happened);
    let all = webhooks.all().into_iter();
    let to: Vec<_> = all
        .filter(|webhook| webhook.wants(&told.room, &kind))
        .map(|webhook| webhook.id)
        .collect();
    let body = serde_json::to_string(told).ok()?;
    (!to.is_empty()).then(|| Letter {
        room: told.room.clone(),
        kind,
        at: told.at,
        body,
        to,
    })
}

/// What of all that lasts begins or ends with it.
fn turns(told: &Told) -> Vec<Turn> {
    let turn = |what, id: &dyn ToString, begins| Turn {
        what,
        id: id.to_string(),
        room: told.room.clone(),
        begins,
    };
    match &told.happened {
        Happened::ParticipantJoined { participant, .. } => {
            vec![turn(Lasting::Participant, participant, true)]
        }
        Happened::ParticipantLeft { participant } => {
            vec![turn(Lasting::Participant, participant, false)]
        }
        Happened::BroadcastStarted { broadcast } => vec![
            turn(Lasting::Broadcast, broadcast, true),
            turn(Lasting::Recording, broadcast, true),
        ],
        Happened::BroadcastStopped { broadcast } => {
            vec![turn(Lasting::Broadcast, broadcast, false)]
        }
        Happened::RecordingCompleted { recording } => {
            vec![turn(Lasting::Recording, recording, false)]
        }
        _ => Vec::new(),
    }
}

/// The event that ends it, for a server that finds it open. `None` of a recording: it may yet be completed.
pub fn end_of(turn: &Turn) -> Option<Happened> {
    match turn.what {
        Lasting::Participant => Some(Happened::ParticipantLeft {
            participant: turn.id.parse().ok()?,
        }),
        Lasting::Broadcast => Some(Happened::BroadcastStopped {
            broadcast: turn.id.parse().ok()?,
        }),
        Lasting::Recording => None,
    }
}
