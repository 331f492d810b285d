//! The STUN and TURN servers that clients are handed.

use std::net::SocketAddr;

/// A STUN or TURN server for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// As `turn:host:port?transport=udp` (RFC 7065).
    pub url: String,
    /// User name and password.
    pub credential: Option<(String, String)>,
}

impl IceServer {
    /// Our own relay at `address`, over UDP and over TCP where that is taken.
    pub fn relays(address: SocketAddr, has_tcp: bool) -> impl Iterator<Item = Self> {
        let transports = ["udp", "tcp"].into_iter().take(1 + usize::from(has_tcp));
        transports.map(move |transport| Self {
            url: format!("turn:{address}?transport={transport}"),
            credential: None,
        })
    }

    /// Whether clients need a credential that only we can issue.
    pub fn needs_credential(&self) -> bool {
        self.credential.is_none() && self.url.starts_with("turn")
    }
}

impl std::str::FromStr for IceServer {
    type Err = String;

    /// `stun:host:port`, `turn:user:password@host:port?transport=udp`, or `turn:host:port` of a
    /// server that has our secret.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no ICE server: it is stun:host:port, turn:user:password@host:port, or turn:host:port with rtc.turn_secret"
            )
        };
        let clean = !text.contains(|c: char| c.is_control() || c == '"' || c == '<' || c == '>');
        let (scheme, rest) = text.split_once(':').filter(|_| clean).ok_or_else(wrong)?;
        match (scheme, rest.rsplit_once('@')) {
            ("stun" | "stuns" | "turn" | "turns", None) => Ok(Self {
                url: text.to_owned(),
                credential: None,
            }),
            ("turn" | "turns", Some((who, server))) => {
                let (user, password) = who.split_once(':').ok_or_else(wrong)?;
                let credential = Some((user.to_owned(), password.to_owned()));
                Ok(Self {
                    url: format!("{scheme}:{server}"),
                    credential,
                })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_read_from_one_line() {
        let check = |text: &str, expect: Option<(&str, Option<(&str, &str)>)>| {
            let got = text.parse::<IceServer>().ok();
            let got = got.as_ref().map(|s| {
                (
                    s.url.as_str(),
                    s.credential.as_ref().map(|(u, p)| (u.as_str(), p.as_str())),
                )
            });
            assert_eq!(got, expect, "{text}");
        };
        check(
            "stun:stun.example.net:3478",
            Some(("stun:stun.example.net:3478", None)),
        );
        check(
            "turn:ann:a@b@turn.example.net:3478?transport=tcp",
            Some((
                "turn:turn.example.net:3478?transport=tcp",
                Some(("ann", "a@b")),
            )),
        );
        check(
            "turn:turn.example.net",
            Some(("turn:turn.example.net", None)),
        );
        check("turn:ann@turn.example.net", None);
        check("https://example.net", None);
        check("stun:a\"b", None);
    }
}
