//! Tokens of an identity provider: good when it signed them, for this server, and only as long as it says.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::blocking::Client;
use serde_json::{Value, json};
use support::{SOON, Server, wait_for};

const SECRET: &str = "a secret of at least 32 characters";
const PREFIX: &str = "https://amphi.example/";

/// Signs tokens, and publishes what they are verified by.
struct Provider {
    url: String,
    published: Arc<Mutex<JwkSet>>,
}

struct SigningKey {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::RS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
                let der: Pkcs8V1Der = pair.as_der().expect("DER");
                EncodingKey::from_rsa_pem(pem(der.as_ref()).as_bytes())
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                EncodingKey::from_ec_pem(pem(pair.expect("a key").as_ref()).as_bytes())
            }
            _ => {
                let pair = Ed25519KeyPair::generate_pkcs8v1(&random).expect("a key");
                EncodingKey::from_ed_pem(pem(pair.as_ref()).as_bytes())
            }
        };
        let key = key.expect("read");
        Self { id, algorithm, key }
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.to_owned());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        encode(&header, claims, &self.key).expect("a token")
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
        let published = Arc::new(Mutex::new(JwkSet { keys: Vec::new() }));
        let served = published.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let body = serde_json::to_string(&*served.lock().expect("a set")).expect("JSON");
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
                let _ = write!(stream, "{head}connection: close\r\n\r\n{body}");
            }
        });
        Self { url, published }
    }

    fn publish(&self, keys: &[&SigningKey]) {
        let keys = keys.iter().map(|key| key.public()).collect();
        *self.published.lock().expect("a set") = JwkSet { keys };
    }
}

#[test]
fn tokens_of_the_identity_provider_are_good_here() {
    let provider = Provider::start();
    let rsa = SigningKey::new("rsa", Algorithm::RS256);
    let ec = SigningKey::new("ec", Algorithm::ES256);
    let ed = SigningKey::new("ed", Algorithm::EdDSA);
    provider.publish(&[&rsa, &ec]);
    let server = Server::start_as_operator(&[
        ("AMPHI_AUTH_SECRET", SECRET),
        ("AMPHI_AUTH_JWKS_URL", &provider.url),
        ("AMPHI_AUTH_ISSUER", "https://login.example"),
        ("AMPHI_AUTH_AUDIENCE", "amphi"),
        ("AMPHI_AUTH_CLAIMS_PREFIX", PREFIX),
    ]);
    let client = Client::new();
    let status = |token: &str| {
        let participants = server.url("/api/v1/rooms/demo/participants");
        let answer = client.get(participants).bearer_auth(token).send();
        answer.expect("answered").status().as_u16()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let claims = |changes: Value| {
        let mut claims = json!({
            "iss": "https://login.example", "aud": ["amphi", "mail"], "sub": "ada", "exp": now + 600,
            format!("{PREFIX}room"): "demo", format!("{PREFIX}role"): "producer",
        });
        let all = claims.as_object_mut().expect("an object");
        all.extend(changes.as_object().cloned().unwrap_or_default());
        claims
    };
    let good = claims(json!({}));
    wait_for("the keys are fetched", SOON, || {
        (status(&rsa.sign(&good)) == 200).then_some(())
    });
    assert_eq!(status(&ec.sign(&good)), 200);

    for (why, changes, expected) in [
        ("for another server", json!({"aud": "mail"}), 401),
        (
            "of another issuer",
            json!({"iss": "https://else.example"}),
            401,
        ),
        ("over", json!({"exp": now - 600}), 401),
        ("not yet good", json!({"nbf": now + 600}), 401),
        (
            "for another room",
            json!({format!("{PREFIX}room"): "attic"}),
            403,
        ),
        (
            "for a lesser role",
            json!({format!("{PREFIX}role"): "viewer"}),
            403,
        ),
        (
            "for no role that there is",
            json!({format!("{PREFIX}role"): "king"}),
            401,
        ),
        (
            "without a room",
            json!({format!("{PREFIX}room"): null, "room": "demo"}),
            401,
        ),
    ] {
        assert_eq!(status(&ec.sign(&claims(changes))), expected, "{why}");
    }
    let mut missing = good.clone();
    missing.as_object_mut().expect("an object").remove("aud");
    assert_eq!(status(&ec.sign(&missing)), 401, "for nobody");

    // What anybody could sign: the public key as a shared secret, and nothing at all.
    let forged = |header: Value, key: &[u8]| {
        let part = |value: &Value| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        let signed = format!("{}.{}", part(&header), part(&good));
        let signature = match key {
            [] => String::new(),
            key => jsonwebtoken::crypto::sign(
                signed.as_bytes(),
                &EncodingKey::from_secret(key),
                Algorithm::HS256,
            )
            .expect("signed"),
        };
        format!("{signed}.{signature}")
    };
    let public = serde_json::to_vec(&rsa.public()).expect("JSON");
    let shared = forged(json!({"alg": "HS256", "kid": "rsa"}), &public);
    assert_eq!(status(&shared), 401, "the public key as a secret");
    let none = forged(json!({"alg": "none", "kid": "rsa"}), &[]);
    assert_eq!(status(&none), 401, "alg:none");
    let mut other = SigningKey::new("rsa", Algorithm::RS256);
    assert_eq!(
        status(&other.sign(&good)),
        401,
        "another's key of that name"
    );
    other.id = "unknown";
    assert_eq!(
        status(&other.sign(&good)),
        401,
        "a key that is not published"
    );

    // A key comes, and one goes.
    provider.publish(&[&rsa, &ed]);
    wait_for("the new key is known", SOON * 2, || {
        (status(&ed.sign(&good)) == 200).then_some(())
    });
    assert_eq!(status(&ec.sign(&good)), 401);
    // Our own tokens are good as before.
    let own = json!({"room": "demo", "role": "host", "exp": now + 600});
    let own = encode(
        &Header::new(Algorithm::HS256),
        &own,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    );
    assert_eq!(status(&own.expect("a token")), 200);
}
