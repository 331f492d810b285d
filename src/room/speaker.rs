//! Who speaks: by the levels that microphones report (RFC 6464), steady enough to direct by.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::id::ParticipantId;

/// Loudness counts over this; a cough is shorter.
const WINDOW: Duration = Duration::from_millis(500);

/// Quieter than this, in -dBov, is no speech: a quiet room is about -60.
const SPEECH_DBOV: f64 = 50.0;

/// Another must be louder by this much to take over, in dB.
const MARGIN_DB: f64 = 6.0;

/// Who was named speaker stays it this long, unless the other one goes on being louder.
const HOLD: Duration = Duration::from_millis(1000);

/// Silence after which nobody speaks.
const FALLS_SILENT: Duration = Duration::from_secs(3);

/// One participant's loudness.
#[derive(Debug, Clone, Copy)]
struct Voice {
    /// Exponentially smoothed, in dB above silence: 0 to 127.
    loudness: f64,
    heard: Instant,
}

/// The room's voices.
#[derive(Debug, Default)]
pub struct Speakers {
    voices: BTreeMap<ParticipantId, Voice>,
    speaking: Option<ParticipantId>,
    since: Option<Instant>,
    spoke: Option<Instant>,
}

impl Speakers {
    /// `level` is in -dBov: 0 full scale, 127 silence. Whether the speaker changed.
    pub fn hear(&mut self, participant: ParticipantId, level: u8, now: Instant) -> bool {
        let loudness = f64::from(127 - level.min(127));
        let voice = self.voices.entry(participant).or_insert(Voice {
            loudness: 0.0,
            heard: now,
        });
        let elapsed = now.saturating_duration_since(voice.heard);
        voice.heard = now;
        // First come levels a tenth of a second apart; a gap counts as if it were as loud.
        let share = (elapsed.as_secs_f64() / WINDOW.as_secs_f64()).clamp(0.1, 1.0);
        voice.loudness += share * (loudness - voice.loudness);
        self.judge(now)
    }

    /// Gone, or muted. Whether the speaker changed.
    pub fn forget(&mut self, participant: ParticipantId) -> bool {
        self.voices.remove(&participant);
        let spoke = self.speaking == Some(participant);
        if spoke {
            self.speaking = None;
        }
        spoke
    }

    pub fn speaking(&self) -> Option<ParticipantId> {
        self.speaking
    }

    fn judge(&mut self, now: Instant) -> bool {
        let threshold = 127.0 - SPEECH_DBOV;
        let fresh = |voice: &Voice| now.saturating_duration_since(voice.heard) < WINDOW * 2;
        let loudness = |id: ParticipantId| {
            let voice = self.voices.get(&id).filter(|voice| fresh(voice));
            voice.map_or(0.0, |voice| voice.loudness)
        };
        let voices = self.voices.iter().filter(|(_, voice)| fresh(voice));
        let loudest = voices
            .filter(|(_, voice)| voice.loudness >= threshold)
            .max_by(|(_, a), (_, b)| a.loudness.total_cmp(&b.loudness))
            .map(|(id, _)| *id);
        let before = self.speaking;
        if before.is_some_and(|speaker| loudness(speaker) >= threshold) {
            self.spoke = Some(now);
        }
        let is_held = |at: Option<Instant>, time| {
            at.is_some_and(|at| now.saturating_duration_since(at) < time)
        };
        self.speaking = match (before, loudest) {
            (Some(speaker), Some(other)) if other != speaker => {
                let louder = loudness(other) >= loudness(speaker) + MARGIN_DB;
                match louder && !is_held(self.since, HOLD) {
                    true => Some(other),
                    false => Some(speaker),
                }
            }
            (Some(_), None) if !is_held(self.spoke, FALLS_SILENT) => None,
            (None, Some(other)) => Some(other),
            (before, _) => before,
        };
        let changed = before != self.speaking;
        if changed {
            self.since = Some(now);
            self.spoke = Some(now);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const QUIET: u8 = 70;

    struct Talk {
        speakers: Speakers,
        now: Instant,
        told: Vec<Option<u128>>,
    }

    impl Talk {
        fn new() -> Self {
            Self {
                speakers: Speakers::default(),
                now: Instant::now(),
                told: Vec::new(),
            }
        }

        /// Both levels, ten times a second.
        fn say(&mut self, millis: u64, ann: u8, bob: u8) {
            for _ in 0..millis / 100 {
                self.now += Duration::from_millis(100);
                for (who, level) in [(1, ann), (2, bob)] {
                    let id = ParticipantId(Uuid::from_u128(who));
                    if self.speakers.hear(id, level, self.now) {
                        let speaking = self.speakers.speaking();
                        self.told.push(speaking.map(|id| id.0.as_u128()));
                    }
                }
            }
        }
    }

    #[test]
    fn speech_is_noticed_and_ends_with_silence() {
        let mut talk = Talk::new();
        talk.say(2000, QUIET, QUIET);
        assert_eq!(talk.told, []);
        talk.say(800, 25, QUIET);
        assert_eq!(talk.told, [Some(1)]);
        talk.say(1500, QUIET, QUIET);
        assert_eq!(talk.told, [Some(1)], "a pause to breathe");
        talk.say(4000, QUIET, QUIET);
        assert_eq!(talk.told, [Some(1), None]);
    }

    #[test]
    fn a_cough_does_not_take_over_and_a_word_does() {
        let mut talk = Talk::new();
        talk.say(3000, 30, QUIET);
        talk.say(100, 30, 15);
        talk.say(1000, 30, QUIET);
        assert_eq!(talk.told, [Some(1)]);
        talk.say(1500, QUIET, 30);
        assert_eq!(talk.told, [Some(1), Some(2)]);
    }

    #[test]
    fn two_who_talk_at_once_do_not_flicker() {
        let mut talk = Talk::new();
        for _ in 0..20 {
            talk.say(300, 30, 33);
            talk.say(300, 33, 30);
        }
        assert_eq!(talk.told.len(), 1);
    }

    #[test]
    fn who_leaves_speaks_no_more() {
        let mut talk = Talk::new();
        talk.say(1000, 25, QUIET);
        let ann = ParticipantId(Uuid::from_u128(1));
        assert!(talk.speakers.forget(ann));
        assert_eq!(talk.speakers.speaking(), None);
        assert!(!talk.speakers.forget(ann));
    }
}
