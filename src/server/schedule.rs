//! Starts broadcasts at the times that were set for them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tracing::{info, warn};

use super::house::House;
use crate::control::api::House as _;
use crate::control::rooms::MadeRooms;
use crate::room::Refused;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of a start that was missed, for the server was away or too busy: later, nobody waits for it any more.
const TRY_FOR: TimeDelta = TimeDelta::minutes(10);

/// Until it is dropped.
pub async fn keep(house: Arc<House>, made: Arc<MadeRooms>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Utc::now();
        for (at, room) in made.due(now) {
            let is_too_late = now - at > TRY_FOR;
            let started = match is_too_late {
                false => house.start_broadcast(&room),
                true => Err(Refused::NotLive),
            };
            match started {
                Ok(broadcast) => info!(%room, %broadcast, "a broadcast starts as it was set"),
                Err(Refused::AlreadyLive) => {}
                Err(_) if is_too_late => warn!(%room, %at, "a broadcast was not started in time"),
                Err(refused) => {
                    warn!(%room, %refused, "a broadcast cannot start as it was set yet");
                    continue;
                }
            }
            if let Err(error) = made.forget_start(&room, at).await {
                warn!(%error, %room, "that a broadcast was started is not put down");
            }
        }
    }
}
