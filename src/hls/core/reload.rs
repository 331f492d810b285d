//! A viewer's request for a playlist: answer now, wait, or refuse (8216bis §6.2.5).

use std::time::Duration;

/// How many segments past the live edge a viewer may wait for (8216bis §6.2.5.2).
pub const MAX_SEGMENTS_AHEAD: u64 = 2;

/// The delivery directives of one playlist request (8216bis §6.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directives {
    /// `_HLS_msn`, with `_HLS_part` where it was given.
    pub wanted: Option<Wanted>,
    /// `_HLS_skip`: a delta update will do.
    pub skip: bool,
}

/// A playlist that holds this segment, or this part of it, or anything later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub msn: u64,
    pub part: Option<u64>,
}

/// A place in a rendition: this many parts of the segment `msn` are there, and all of
/// every segment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Edge {
    pub msn: u64,
    pub parts: u64,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Ready,
    /// Not before the rendition's edge has come to this one.
    WaitFor(Edge),
}

/// Why a request gets a 400; the text is for whoever wrote the player.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("{0} must be a whole number from 0 to 18446744073709551615, once")]
    Number(&'static str),
    #[error("_HLS_skip must be YES or v2, once")]
    Skip,
    #[error("_HLS_part needs _HLS_msn beside it")]
    PartWithoutMsn,
    #[error(
        "_HLS_msn={msn} is more than {MAX_SEGMENTS_AHEAD} segments past the live edge, {edge}: \
         fetch the playlist without _HLS_msn and go on from there"
    )]
    MsnTooFar { msn: u64, edge: u64 },
    #[error(
        "_HLS_part={part} is more than {limit} parts past the live edge: \
         fetch the playlist without _HLS_msn and go on from there"
    )]
    PartTooFar { part: u64, limit: u64 },
}

/// Reads the delivery directives out of a URL's query; what is not one is nobody's business.
pub fn parse_query(query: &str) -> Result<Directives, BadRequest> {
    let (mut msn, mut part, mut skip) = (None, None, false);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "_HLS_msn" => put(&mut msn, value, "_HLS_msn")?,
            "_HLS_part" => put(&mut part, value, "_HLS_part")?,
            "_HLS_skip" if !skip && (value == "YES" || value == "v2") => skip = true,
            "_HLS_skip" => return Err(BadRequest::Skip),
            _ => {}
        }
    }
    let wanted = match (msn, part) {
        (Some(msn), part) => Some(Wanted { msn, part }),
        (None, Some(_)) => return Err(BadRequest::PartWithoutMsn),
        (None, None) => None,
    };
    Ok(Directives { wanted, skip })
}

/// A decimal-integer is digits only (8216bis §4.2): no sign, no space.
fn put(slot: &mut Option<u64>, value: &str, name: &'static str) -> Result<(), BadRequest> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && slot.is_none() => *slot = Some(number),
        _ => return Err(BadRequest::Number(name)),
    }
    Ok(())
}

/// How many parts past the last one a viewer may wait for: the Advance Part Limit
/// (8216bis §6.2.5.2).
pub fn advance_part_limit(part_target: Duration) -> u64 {
    let millis = part_target.as_millis().max(1) as u64;
    if millis < 1000 {
        3000_u64.div_ceil(millis)
    } else {
        3
    }
}

/// Answers a request at the present edge. `over`: nothing more will come, so nobody waits.
pub fn decide(
    wanted: Option<Wanted>,
    edge: Edge,
    over: bool,
    part_limit: u64,
) -> Result<Decision, BadRequest> {
    let Some(Wanted { msn, part }) = wanted else {
        return Ok(Decision::Ready);
    };
    // The last segment of the playlist: the open one, once it has a part.
    let last = if edge.parts > 0 {
        edge.msn
    } else {
        edge.msn.saturating_sub(1)
    };
    if msn > last.saturating_add(MAX_SEGMENTS_AHEAD) {
        return Err(BadRequest::MsnTooFar { msn, edge: last });
    }
    if let Some(part) = part {
        let there = if msn == edge.msn { edge.parts } else { 0 };
        if msn >= edge.msn && part >= there.saturating_add(part_limit) {
            return Err(BadRequest::PartTooFar {
                part,
                limit: part_limit,
            });
        }
    }
    let goal = match part {
        Some(part) => Edge {
            msn,
            parts: part.saturating_add(1),
        },
        // Without a part, the whole segment is meant.
        None => Edge {
            msn: msn.saturating_add(1),
            parts: 0,
        },
    };
    Ok(if over || edge >= goal {
        Decision::Ready
    } else {
        Decision::WaitFor(goal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(query: &str, expect: Result<Decision, BadRequest>) {
        // Segment 10 is open and has 3 parts of 200 ms.
        let edge = Edge { msn: 10, parts: 3 };
        let limit = advance_part_limit(Duration::from_millis(200));
        let got = parse_query(query).and_then(|d| decide(d.wanted, edge, false, limit));
        assert_eq!(got, expect, "{query:?}");
    }

    fn wait(msn: u64, parts: u64) -> Result<Decision, BadRequest> {
        Ok(Decision::WaitFor(Edge { msn, parts }))
    }

    #[test]
    fn a_request_is_answered_waits_or_is_refused() {
        check("", Ok(Decision::Ready));
        check("token=x&_HLS_skip=YES", Ok(Decision::Ready));
        check("_HLS_msn=0", Ok(Decision::Ready));
        check("_HLS_msn=9", Ok(Decision::Ready));
        check("_HLS_msn=10", wait(11, 0));
        check("_HLS_msn=10&_HLS_part=2", Ok(Decision::Ready));
        check("_HLS_msn=10&_HLS_part=3", wait(10, 4));
        check("_HLS_msn=9&_HLS_part=4000", Ok(Decision::Ready));
        check("_HLS_msn=12&_HLS_part=0", wait(12, 1));
        check("_HLS_msn=12", wait(13, 0));
        check(
            "_HLS_msn=13",
            Err(BadRequest::MsnTooFar { msn: 13, edge: 10 }),
        );
        check(
            "_HLS_msn=18446744073709551615",
            Err(BadRequest::MsnTooFar {
                msn: u64::MAX,
                edge: 10,
            }),
        );
        check(
            "_HLS_msn=10&_HLS_part=18",
            Err(BadRequest::PartTooFar {
                part: 18,
                limit: 15,
            }),
        );
        check("_HLS_part=1", Err(BadRequest::PartWithoutMsn));
        for bad in ["", "-1", "+1", "1.0", "x", "18446744073709551616", "%31"] {
            check(
                &format!("_HLS_msn={bad}"),
                Err(BadRequest::Number("_HLS_msn")),
            );
            check(
                &format!("_HLS_msn=1&_HLS_part={bad}"),
                Err(BadRequest::Number("_HLS_part")),
            );
        }
        check("_HLS_msn", Err(BadRequest::Number("_HLS_msn")));
        check("_HLS_msn=1&_HLS_msn=1", Err(BadRequest::Number("_HLS_msn")));
        check("_HLS_skip=NO", Err(BadRequest::Skip));
    }

    #[test]
    fn nobody_waits_for_what_is_over() {
        let wanted = Some(Wanted { msn: 5, part: None });
        let edge = Edge { msn: 5, parts: 0 };
        assert_eq!(decide(wanted, edge, true, 15), Ok(Decision::Ready));
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "(_HLS_(msn|part|skip)=?[0-9a-zA-Z%+-]{0,24}&?){0,4}|.{0,64}", msn: u64, parts: u64) {
            if let Ok(directives) = parse_query(&query) {
                let _ = decide(directives.wanted, Edge { msn, parts }, false, 15);
            }
        }

        #[test]
        fn who_waits_is_served_at_the_edge_waited_for(msn in 0u64..20, part in proptest::option::of(0u64..20), at in 0u64..20, parts in 0u64..12) {
            let wanted = Some(Wanted { msn, part });
            if let Ok(Decision::WaitFor(edge)) = decide(wanted, Edge { msn: at, parts }, false, 15) {
                prop_assert_eq!(decide(wanted, edge, false, 15), Ok(Decision::Ready));
            }
        }
    }
}
