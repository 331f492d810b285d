//! What a publisher in the field does, on purpose: goes silent, turns the phone, loses its network,
//! sends nonsense.

use std::str::FromStr;
use std::time::Duration;

/// What happens, and when: `rotate@3s+4s,mute@5s` turns the picture for four seconds, and from the
/// fifth second on sends no sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsal(Vec<Scene>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scene {
    act: Act,
    from: Duration,
    /// `None`: to the end.
    until: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Rotate,
    Mute,
    Hide,
    Stall,
    Corrupt,
}

/// What holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// The picture stands on its side, as a turned phone sends it.
    pub rotated: bool,
    pub sends_sound: bool,
    pub sends_picture: bool,
    /// Some bytes of what is sent are others, as an encoder that is broken, or hostile, sends them.
    pub corrupts: bool,
}

impl Rehearsal {
    /// `at` is the time since the source began.
    pub fn at(&self, at: Duration) -> Moment {
        let now = |act| {
            let holds =
                |s: &Scene| s.act == act && s.from <= at && s.until.is_none_or(|end| at < end);
            self.0.iter().any(holds)
        };
        Moment {
            rotated: now(Act::Rotate),
            sends_sound: !now(Act::Mute) && !now(Act::Stall),
            sends_picture: !now(Act::Hide) && !now(Act::Stall),
            corrupts: now(Act::Corrupt),
        }
    }
}

impl FromStr for Rehearsal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl FromStr for Scene {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = || {
            format!(
                "`{text}` is none of rotate, mute, hide, stall, corrupt with a time, like mute@5s or stall@10s+8s"
            )
        };
        let (act, when) = text.split_once('@').ok_or_else(help)?;
        let act = match act {
            "rotate" => Act::Rotate,
            "mute" => Act::Mute,
            "hide" => Act::Hide,
            "stall" => Act::Stall,
            "corrupt" => Act::Corrupt,
            _ => return Err(help()),
        };
        let time = |text: &str| humantime::parse_duration(text).map_err(|_| help());
        let (from, length) = match when.split_once('+') {
            Some((from, length)) => (time(from)?, Some(time(length)?)),
            None => (time(when)?, None),
        };
        let until = length.map(|length| from.saturating_add(length));
        Ok(Self { act, from, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_hold_for_their_time() {
        let rehearsal: Rehearsal = "rotate@3s+4s,mute@5s,stall@10s+8s".parse().expect("read");
        let check = |seconds, rotated, sends_sound, sends_picture| {
            let moment = Moment {
                rotated,
                sends_sound,
                sends_picture,
                corrupts: false,
            };
            assert_eq!(
                rehearsal.at(Duration::from_secs(seconds)),
                moment,
                "at {seconds} s"
            );
        };
        check(0, false, true, true);
        check(3, true, true, true);
        check(6, true, false, true);
        check(7, false, false, true);
        check(12, false, false, false);
        check(18, false, false, true);
    }

    #[test]
    fn what_is_not_understood_is_quoted() {
        for text in ["", "dance@3s", "mute", "mute@soon", "mute@1s+"] {
            let refused = text.parse::<Rehearsal>().expect_err(text);
            assert!(refused.contains(&format!("`{text}`")), "{refused}");
        }
    }
}
