//! Credentials that end by themselves: the user name says when, the password proves that we said
//! so. The convention of "A REST API For Access To TURN Services" (draft-uberti-behave-turn-rest),
//! which coturn calls `use-auth-secret`; so one secret serves our own relay and a coturn.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rtc_crypto::{HmacAlgorithm, RTCCryptoProvider};

/// Longer than any show. What is allocated by then may stay.
pub const VALID_FOR: Duration = Duration::from_secs(24 * 3600);

/// User names are told apart by the hour they end in, so that all of a moment can be tried where
/// a client sends but a hash of its name (RFC 8489 §9.2).
const GRID_S: u64 = 3600;

/// What the user name says besides the time; coturn logs it.
const USER: &str = "amphi";

/// The secret that TURN servers share with who hands out credentials.
#[derive(Clone)]
pub struct Secret {
    key: Arc<str>,
    provider: Arc<dyn RTCCryptoProvider>,
}

impl Secret {
    pub fn new(key: &str, provider: Arc<dyn RTCCryptoProvider>) -> Self {
        Self {
            key: key.into(),
            provider,
        }
    }

    /// User name and password for a client of this moment.
    pub fn issue(&self, unix_s: u64) -> Option<(String, String)> {
        let until = (unix_s + VALID_FOR.as_secs()).next_multiple_of(GRID_S);
        self.ending(until)
    }

    /// All that we issued and that are valid at this moment.
    pub fn valid(&self, unix_s: u64) -> impl Iterator<Item = (String, String)> {
        let first = (unix_s + 1).next_multiple_of(GRID_S);
        let hours = (0..=VALID_FOR.as_secs() / GRID_S).map(move |hour| first + hour * GRID_S);
        hours.filter_map(|until| self.ending(until))
    }

    fn ending(&self, until: u64) -> Option<(String, String)> {
        let username = format!("{until}:{USER}");
        let password = self.sign(&username)?;
        Some((username, password))
    }

    /// The password of a user name that is valid at this moment.
    pub fn password_of(&self, username: &str, unix_s: u64) -> Option<String> {
        let until = username.split(':').next()?.parse::<u64>().ok()?;
        (until > unix_s).then(|| self.sign(username)).flatten()
    }

    fn sign(&self, username: &str) -> Option<String> {
        let crypto = self.provider.crypto();
        let mut digest = [0; 20];
        let mut mac = crypto
            .new_hmac(HmacAlgorithm::Sha1, self.key.as_bytes())
            .ok()?;
        mac.sign(&[username.as_bytes()], &mut digest).ok()?;
        Some(STANDARD.encode(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::core::dtls::Identity;

    #[test]
    fn credentials_end_by_themselves_and_are_as_coturn_computes_them() {
        let identity = Identity::generate().expect("a certificate");
        let secret = Secret::new("north", identity.provider.clone());
        let (username, password) = secret.issue(1_700_000_000).expect("hmac works");
        assert_eq!(username, "1700089200:amphi");
        // printf 1700089200:amphi | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(password, "+Czroh/8Gh74WVWLOiSHx5tzI6E=");
        let valid = |at| {
            let found = secret.password_of(&username, at);
            let all = secret.valid(at).find(|(name, _)| *name == username);
            assert_eq!(found, all.map(|(_, password)| password));
            found
        };
        assert_eq!(valid(1_700_000_000), Some(password.clone()));
        assert_eq!(valid(1_700_089_199), Some(password));
        assert_eq!(valid(1_700_089_200), None);
        assert_eq!(secret.password_of("amphi", 0), None);
        assert_eq!(secret.password_of("", 0), None);
    }
}
