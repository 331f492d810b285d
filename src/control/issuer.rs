//! Tokens of somebody else's making (SSO, OpenID Connect): signed with a key of the set that their issuer
//! publishes (JWKS, RFC 7517), for this server alone.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tracing::{info, warn};
use url::Url;

use super::auth::{CLOCK_LEEWAY, Claims};

/// Issuers tell of a new key long before they sign with it.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// A stranger can name keys that nobody has, as often as they like.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// More is no set of keys.
const MAX_SET_LEN: usize = 1 << 20;

/// What only the holder of a private key can sign with. A shared secret is ours alone.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The claims that say what somebody may do here.
const OURS: [&str; 3] = ["room", "role", "publish"];

pub struct IssuerSettings {
    pub jwks_url: Url,
    /// `iss` of its tokens.
    pub issuer: String,
    /// `aud` of those that are meant for this server.
    pub audience: String,
    /// What our claims' names begin with there.
    pub claims_prefix: String,
}

pub struct Issuer {
    settings: IssuerSettings,
    keys: RwLock<JwkSet>,
    /// Somebody came with a key that is not known.
    is_missed: Notify,
}

impl Issuer {
    pub fn new(settings: IssuerSettings) -> Self {
        Self {
            settings,
            keys: RwLock::new(JwkSet { keys: Vec::new() }),
            is_missed: Notify::new(),
        }
    }

    /// What a token says, if it is of this issuer, for this server, and not over.
    pub fn verify(&self, token: &str, header: &Header) -> Result<Claims, Error> {
        if !ALGORITHMS.contains(&header.alg) {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = CLOCK_LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let key = self.key(header)?;
        let told = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)?;
        let claims = self.renamed(told.claims);
        let claims = serde_json::from_value(claims.into());
        claims.map_err(|e| ErrorKind::Json(Arc::new(e)).into())
    }

    fn key(&self, header: &Header) -> Result<DecodingKey, Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = match &header.kid {
            Some(kid) => keys.find(kid),
            // A set of one needs no names.
            None => keys.keys.first().filter(|_| keys.keys.len() == 1),
        };
        match found {
            Some(key) => DecodingKey::from_jwk(key),
            None => {
                self.is_missed.notify_one();
                Err(ErrorKind::InvalidKeyFormat.into())
            }
        }
    }

    /// Our own claims by the names we have for them, whatever else it says.
    fn renamed(&self, mut told: Map<String, Value>) -> Map<String, Value> {
        let prefix = &self.settings.claims_prefix;
        if !prefix.is_empty() {
            for name in OURS {
                told.remove(name);
                if let Some(value) = told.remove(&format!("{prefix}{name}")) {
                    told.insert(name.to_owned(), value);
                }
            }
        }
        told
    }

    /// Fetches the keys, and whatever they become, until it is dropped.
    pub async fn keep(self: Arc<Self>, client: reqwest::Client) {
        loop {
            match self.fetch(&client).await {
                Ok(()) => {
                    tokio::time::sleep(FETCH_AT_MOST_EVERY).await;
                    let rest = FETCH_EVERY.saturating_sub(FETCH_AT_MOST_EVERY);
                    let _ = tokio::time::timeout(rest, self.is_missed.notified()).await;
                }
                Err(error) => {
                    warn!("the keys of auth.jwks_url cannot be fetched: {error:#}");
                    tokio::time::sleep(FETCH_AT_MOST_EVERY).await;
                }
            }
        }
    }

    async fn fetch(&self, client: &reqwest::Client) -> anyhow::Result<()> {
        let request = client.get(self.settings.jwks_url.clone());
        let mut answer = request.timeout(FETCH_WITHIN).send().await?;
        if !answer.status().is_success() {
            bail!("it answers {}", answer.status());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_SET_LEN {
                bail!("it answers more than {MAX_SET_LEN} bytes");
            }
        }
        let set: JwkSet = serde_json::from_slice(&body).context("it answers no set of keys")?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if *keys != set {
            info!(
                keys = set.keys.len(),
                "tokens of auth.issuer are verified by new keys"
            );
            *keys = set;
        }
        Ok(())
    }
}
