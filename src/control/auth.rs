//! Tokens: who somebody is, in which room, and what they may do there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::issuer::Issuer;
use crate::room::{Role, RoomId, TrackSource};

/// The shortest secret that a token can be signed with, in bytes: as long as the HMAC's output
/// (RFC 7518 §3.2).
pub const MIN_SECRET_LEN: usize = 32;

/// The claims of a token: a JWT (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The token's own id, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Who: stable over visits, so that the same participant takes their place again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The name that others see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub room: Scope,
    pub role: Role,
    /// What they may publish; all that their role may, where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<BTreeSet<TrackSource>>,
    /// Seconds since 1970.
    pub exp: u64,
}

/// The rooms a token is for: `"*"` or one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    AnyRoom,
    Room(RoomId),
}

impl Scope {
    pub fn covers(&self, room: &RoomId) -> bool {
        match self {
            Scope::AnyRoom => true,
            Scope::Room(own) => own == room,
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = crate::room::id::InvalidRoomId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "*" => Ok(Scope::AnyRoom),
            name => name.parse().map(Scope::Room),
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        match scope {
            Scope::AnyRoom => "*".to_owned(),
            Scope::Room(id) => id.into(),
        }
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("send a token as `Authorization: Bearer …`; `amphi token` makes one")]
    NoToken,
    #[error("the token is not valid ({0}); get a new one from whoever runs this server")]
    BadToken(String),
    #[error("the token is for another room")]
    OtherRoom,
    #[error("a {0:?} may not do this")]
    RoleMayNot(Role),
}

/// Who asks, by their token.
#[derive(Debug, Clone)]
pub struct Caller {
    claims: Result<Option<Arc<Claims>>, Denied>,
    /// What producers made of them, in some rooms.
    granted: Arc<BTreeMap<RoomId, Role>>,
}

impl Caller {
    /// What their token says, if it is good. `None` where nobody is asked for one, too.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref().ok()?.as_deref()
    }

    /// What they are in this room, if they may enter it; `None` where nobody is asked, too.
    pub fn role_in(&self, room: &RoomId) -> Option<Role> {
        let claims = self.claims().filter(|claims| claims.room.covers(room))?;
        Some(self.granted.get(room).copied().unwrap_or(claims.role))
    }

    /// Whether they may do `allowed` things in `room`. `None` where nobody is asked.
    pub fn check(
        &self,
        room: &RoomId,
        allowed: fn(Role) -> bool,
    ) -> Result<Option<&Claims>, Denied> {
        let claims = self.good()?;
        let Some(claims) = claims else {
            return Ok(None);
        };
        match self.role_in(room) {
            None => Err(Denied::OtherRoom),
            Some(role) if !allowed(role) => Err(Denied::RoleMayNot(role)),
            Some(_) => Ok(Some(claims)),
        }
    }

    /// As [`Self::check`], for all rooms.
    pub fn check_everywhere(&self, allowed: fn(Role) -> bool) -> Result<Option<&Claims>, Denied> {
        match self.good()? {
            Some(claims) if claims.room != Scope::AnyRoom => Err(Denied::OtherRoom),
            Some(claims) if !allowed(claims.role) => Err(Denied::RoleMayNot(claims.role)),
            claims => Ok(claims),
        }
    }

    /// As [`Self::check`], for some room, whichever.
    pub fn check_anywhere(&self, allowed: fn(Role) -> bool) -> Result<Option<&Claims>, Denied> {
        let mut granted = self.granted.values();
        match self.good()? {
            Some(claims) if !allowed(claims.role) && !granted.any(|role| allowed(*role)) => {
                Err(Denied::RoleMayNot(claims.role))
            }
            claims => Ok(claims),
        }
    }

    fn good(&self) -> Result<Option<&Claims>, Denied> {
        self.claims
            .as_ref()
            .map(Option::as_deref)
            .map_err(Denied::clone)
    }
}

/// How a server decides who may enter.
#[derive(Clone)]
pub enum Authority {
    /// `--dev`: everybody is a host everywhere.
    Everybody,
    Secret(Arc<Keys>),
}

/// All that a token can be good by.
pub struct Keys {
    sign: EncodingKey,
    /// The one that signs, and the one before it.
    verify: Vec<DecodingKey>,
    /// Who else makes tokens.
    issuer: Option<Arc<Issuer>>,
    /// By the hash of the key.
    api_keys: RwLock<BTreeMap<KeyHash, Arc<Claims>>>,
    /// By their `jti`.
    revoked: RwLock<BTreeSet<String>>,
    /// By identity.
    granted: RwLock<BTreeMap<String, Arc<BTreeMap<RoomId, Role>>>>,
}

/// SHA-256 of an API key.
pub type KeyHash = [u8; 32];

/// What API keys begin with: no JWT does.
pub const KEY_PREFIX: &str = "amphi_";

impl Authority {
    /// `None` when the secret is shorter than [`MIN_SECRET_LEN`]. What the `previous` secret signed is
    /// good too; none is empty.
    pub fn with_secrets(secret: &str, previous: &str, issuer: Option<Arc<Issuer>>) -> Option<Self> {
        (secret.len() >= MIN_SECRET_LEN).then(|| {
            let known = [secret, previous].into_iter();
            let known = known.filter(|secret| secret.len() >= MIN_SECRET_LEN);
            let verify = known.map(|secret| DecodingKey::from_secret(secret.as_bytes()));
            Authority::Secret(Arc::new(Keys {
                sign: EncodingKey::from_secret(secret.as_bytes()),
                verify: verify.collect(),
                issuer,
                api_keys: RwLock::default(),
                revoked: RwLock::default(),
                granted: RwLock::default(),
            }))
        })
    }

    /// The token of this `jti` is not good any more, at any door.
    pub fn revoke(&self, id: String) {
        if let Authority::Secret(keys) = self {
            write(&keys.revoked).insert(id);
        }
    }

    /// Whoever sends the key of this hash has these claims.
    pub fn know_key(&self, hash: KeyHash, claims: Claims) {
        if let Authority::Secret(keys) = self {
            write(&keys.api_keys).insert(hash, Arc::new(claims));
        }
    }

    pub fn forget_key(&self, hash: &KeyHash) {
        if let Authority::Secret(keys) = self {
            write(&keys.api_keys).remove(hash);
        }
    }

    /// Who sends this token, or none.
    pub fn identify(&self, bearer: Option<&str>) -> Caller {
        let Authority::Secret(keys) = self else {
            return Caller {
                claims: Ok(None),
                granted: Arc::default(),
            };
        };
        let claims = bearer.ok_or(Denied::NoToken);
        let claims = claims.and_then(|token| keys.claims(token));
        let identity = claims.as_ref().ok().and_then(|claims| claims.sub.as_ref());
        let granted = identity.and_then(|identity| read(&keys.granted).get(identity).cloned());
        Caller {
            claims: claims.map(Some),
            granted: granted.unwrap_or_default(),
        }
    }

    /// Who is known by this has another role in this room than their token says.
    pub fn grant(&self, room: RoomId, identity: String, role: Role) {
        if let Authority::Secret(keys) = self {
            let mut granted = write(&keys.granted);
            let of_them = granted.entry(identity).or_default();
            Arc::make_mut(of_them).insert(room, role);
        }
    }

    /// In this room all have the roles of their tokens.
    pub fn forget_grants(&self, room: &RoomId) {
        if let Authority::Secret(keys) = self {
            write(&keys.granted).retain(|_, of_them| {
                if of_them.contains_key(room) {
                    Arc::make_mut(of_them).remove(room);
                }
                !of_them.is_empty()
            });
        }
    }

    /// A token with these claims; `None` where nobody is asked for one.
    pub fn issue(&self, claims: &Claims) -> Option<String> {
        match self {
            Authority::Everybody => None,
            Authority::Secret(keys) => {
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &keys.sign).ok()
            }
        }
    }
}

impl Keys {
    fn claims(&self, token: &str) -> Result<Arc<Claims>, Denied> {
        if token.starts_with(KEY_PREFIX) {
            return self.of_key(token);
        }
        let bad = |why: &dyn ToString| Denied::BadToken(why.to_string());
        let header = jsonwebtoken::decode_header(token).map_err(|e| bad(&e))?;
        let claims = match (&self.issuer, header.alg) {
            (_, Algorithm::HS256) => self.verify(token).map_err(|e| bad(&e))?,
            (Some(issuer), _) => issuer.verify(token, &header).map_err(|e| bad(&e))?,
            (None, _) => return Err(bad(&"it is not signed with HS256")),
        };
        match claims
            .jti
            .as_ref()
            .is_some_and(|id| read(&self.revoked).contains(id))
        {
            true => Err(bad(&"it was revoked")),
            false => Ok(Arc::new(claims)),
        }
    }

    fn of_key(&self, key: &str) -> Result<Arc<Claims>, Denied> {
        let claims = read(&self.api_keys).get(&hash(key)).cloned();
        let claims = claims.filter(|claims| claims.exp > expires_in(Duration::ZERO));
        let gone = || Denied::BadToken("there is no such API key, or not any more".to_owned());
        claims.ok_or_else(gone)
    }

    fn verify(&self, token: &str) -> Result<Claims, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = CLOCK_LEEWAY.as_secs();
        validation.validate_aud = false;
        let decode = |key| jsonwebtoken::decode::<Claims>(token, key, &validation);
        let mut last = Err(ErrorKind::InvalidKeyFormat.into());
        for key in &self.verify {
            last = decode(key);
            if last.is_ok() {
                break;
            }
        }
        Ok(last?.claims)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A key is random and long, so that one round is enough.
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key).into()
}

/// How far two machines' clocks may differ.
pub(super) const CLOCK_LEEWAY: Duration = Duration::from_secs(30);

/// `exp` of a token that lives for `ttl` from now.
pub fn expires_in(ttl: Duration) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_add(ttl).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of at least 32 characters";

    fn claims(room: &str, role: Role, exp: u64) -> Claims {
        let room = room.to_owned().try_into().expect("a good scope");
        Claims {
            jti: None,
            sub: Some("ada".into()),
            name: None,
            room,
            role,
            publish: None,
            exp,
        }
    }

    fn check(token: Option<&str>, expect: Result<bool, Denied>) {
        let authority = Authority::with_secrets(SECRET, "", None).expect("long enough");
        let room = "demo".parse().expect("a good name");
        let caller = authority.identify(token);
        let got = caller.check(&room, Role::may_publish);
        let got = got
            .map(|claims| claims.is_some())
            .map_err(|denied| match denied {
                Denied::BadToken(_) => Denied::BadToken(String::new()),
                other => other,
            });
        assert_eq!(got, expect, "{token:?}");
    }

    #[test]
    fn a_token_opens_its_own_room_for_its_role_and_time() {
        let authority = Authority::with_secrets(SECRET, "", None).expect("long enough");
        let other = Authority::with_secrets(&SECRET.to_uppercase(), "", None).expect("long enough");
        let soon = expires_in(Duration::from_secs(60));
        let token = |a: &Authority, room, role, exp| a.issue(&claims(room, role, exp));
        let bad = || Err(Denied::BadToken(String::new()));

        check(
            token(&authority, "demo", Role::Host, soon).as_deref(),
            Ok(true),
        );
        check(
            token(&authority, "*", Role::Speaker, soon).as_deref(),
            Ok(true),
        );
        check(None, Err(Denied::NoToken));
        check(Some("nonsense"), bad());
        check(token(&authority, "demo", Role::Host, 1).as_deref(), bad());
        check(token(&other, "demo", Role::Host, soon).as_deref(), bad());
        check(
            token(&authority, "else", Role::Host, soon).as_deref(),
            Err(Denied::OtherRoom),
        );
        let viewer = token(&authority, "demo", Role::Viewer, soon);
        check(viewer.as_deref(), Err(Denied::RoleMayNot(Role::Viewer)));
        // {"alg":"none"}.{"room":"demo","role":"host","exp":9999999999}.
        check(
            Some(
                "eyJhbGciOiJub25lIn0.eyJyb29tIjoiZGVtbyIsInJvbGUiOiJob3N0IiwiZXhwIjo5OTk5OTk5OTk5fQ.",
            ),
            bad(),
        );
    }

    #[test]
    fn a_short_secret_is_none() {
        assert!(Authority::with_secrets("short", "", None).is_none());
    }

    #[test]
    fn what_the_secret_before_signed_is_good_until_it_is_forgotten() {
        const NEXT: &str = "the next secret of 32 characters";
        let of = |secret, previous| {
            Authority::with_secrets(secret, previous, None).expect("long enough")
        };
        let room = "demo".parse().expect("a good name");
        let soon = expires_in(Duration::from_secs(60));
        let is_good = |by: &Authority, at: &Authority| {
            let token = by.issue(&claims("demo", Role::Host, soon));
            {
                let caller = at.identify(token.as_deref());
                caller.check(&room, Role::may_publish).is_ok()
            }
        };
        let (old, both, new) = (of(SECRET, ""), of(NEXT, SECRET), of(NEXT, ""));
        assert!(is_good(&old, &both) && is_good(&both, &both));
        assert!(is_good(&both, &new) && !is_good(&old, &new) && !is_good(&both, &old));
    }

    #[test]
    fn a_revoked_token_opens_nothing() {
        let authority = Authority::with_secrets(SECRET, "", None).expect("long enough");
        let door = authority.clone();
        let room = "demo".parse().expect("a good name");
        let soon = expires_in(Duration::from_secs(60));
        let token = |id: &str| {
            let claims = Claims {
                jti: Some(id.to_owned()),
                ..claims("demo", Role::Host, soon)
            };
            authority.issue(&claims).expect("a token")
        };
        let (one, other) = (token("one"), token("other"));
        authority.revoke("one".to_owned());
        let check = |token: &str| {
            let caller = door.identify(Some(token));
            caller.check(&room, Role::may_publish).map(drop)
        };
        assert!(matches!(check(&one), Err(Denied::BadToken(_))));
        assert_eq!(check(&other), Ok(()));
    }
}
