//! `application/trickle-ice-sdpfrag` (RFC 8840 §9, RFC 9725 §4.3).

use super::agreement::IceCredentials;
use super::offer::{PWD_LEN, UFRAG_LEN};
use super::write::{Candidate, write_transport};

/// The longest fragment that is read.
pub const MAX_FRAGMENT_LEN: usize = 16 * 1024;

/// Candidates of one peer that are kept, and how long each may be.
pub const MAX_CANDIDATES: usize = 32;
const MAX_CANDIDATE_LEN: usize = 200;

/// The candidates that a description or a fragment names (RFC 8839 §5.1), as they are written.
pub fn candidates(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("a="));
    let lines = lines.filter(|line| line.starts_with("candidate:"));
    let lines = lines.filter(|line| line.len() <= MAX_CANDIDATE_LEN && line.is_ascii());
    let clean = |line: &str| line.trim().replace(|c: char| c.is_ascii_control(), "");
    lines.map(clean).take(MAX_CANDIDATES).collect()
}

/// What a WHIP PATCH says. Candidates are not kept: as an ICE-lite agent we learn the peer's
/// addresses from its checks (RFC 8445 §2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// `None` in a fragment that names no credentials.
    pub ice: Option<IceCredentials>,
    pub candidates: usize,
    pub end_of_candidates: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    #[error("the fragment is longer than {MAX_FRAGMENT_LEN} bytes")]
    TooLong,
    #[error("line {0} is not `type=value`, as SDP lines are (RFC 8840 §9)")]
    Syntax(usize),
    #[error("a=ice-ufrag and a=ice-pwd come together, of 4 and 22 to 256 characters")]
    BadCredentials,
    #[error("the fragment has neither credentials nor candidates")]
    Empty,
}

impl Fragment {
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        if text.len() > MAX_FRAGMENT_LEN {
            return Err(FragmentError::TooLong);
        }
        let (mut ufrag, mut pwd) = (None, None);
        let (mut candidates, mut end_of_candidates) = (0, false);
        for (nth, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
        {
            let (kind, value) = line.split_once('=').ok_or(FragmentError::Syntax(nth + 1))?;
            if kind.len() != 1 {
                return Err(FragmentError::Syntax(nth + 1));
            }
            match value.split_once(':').unwrap_or((value, "")) {
                ("ice-ufrag", v) if kind == "a" => ufrag = Some(v.trim().to_owned()),
                ("ice-pwd", v) if kind == "a" => pwd = Some(v.trim().to_owned()),
                ("candidate", _) if kind == "a" => candidates += 1,
                ("end-of-candidates", _) if kind == "a" => end_of_candidates = true,
                _ => {}
            }
        }
        let ice = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd))
                if UFRAG_LEN.contains(&ufrag.len()) && PWD_LEN.contains(&pwd.len()) =>
            {
                Some(IceCredentials { ufrag, pwd })
            }
            (None, None) => None,
            _ => return Err(FragmentError::BadCredentials),
        };
        if ice.is_none() && candidates == 0 && !end_of_candidates {
            return Err(FragmentError::Empty);
        }
        Ok(Self {
            ice,
            candidates,
            end_of_candidates,
        })
    }
}

/// The answer to an ICE restart (RFC 9725 §4.3.2): our new credentials and candidates, for the
/// section that carries the bundle's transport.
pub fn restart_answer(
    media: &str,
    mid: &str,
    bundle: &str,
    ice: &IceCredentials,
    candidates: &[Candidate],
) -> String {
    let mut text = format!(
        "a=ice-lite\r\na=group:BUNDLE {bundle}\r\nm={media} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"
    );
    write_transport(&mut text, ice, candidates);
    text
}
