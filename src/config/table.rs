//! The settings table: every key once, with its default, its range and its meaning.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::value::{Setting, Value};

/// Makes, from rows of `/// doc`, `key: Type = "TOML default"`, an optional `in range` and its
/// words, the struct of each section, [`Config`] and [`TABLE`].
macro_rules! settings {
    ($($section:ident: $Section:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $Type:ty = $default:literal $(, $range:literal if $check:expr)?;)+
    })+) => {
        $(
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section { $($(#[doc = $doc])+ pub $key: $Type,)+ }
        )+

        /// Every setting, typed and within its range.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $(pub $section: $Section,)+ }

        impl Default for Config {
            fn default() -> Self {
                Config { $($section: $Section { $($key: default(concat!(stringify!($section), ".", stringify!($key)), $default),)+ },)+ }
            }
        }

        pub static TABLE: &[Setting] = &[$($(
            Setting {
                section: stringify!($section),
                key: stringify!($key),
                default: $default,
                doc: &[$($doc),+],
                kind: <$Type as Value>::KIND,
                range: concat!($($range)?),
                set: |config, value| {
                    let value = <$Type as Value>::read(value).ok_or(())?;
                    $(
                        let check: fn(&$Type) -> bool = $check;
                        if !check(&value) {
                            return Err(());
                        }
                    )?
                    config.$section.$key = value;
                    Ok(())
                },
            },
        )+)+];
    };
}

settings! {
    http: Http {
        /// Where pages, WHIP, HLS and the API are served. Put a TLS proxy in front: browsers
        /// give camera and microphone only to https pages and to localhost.
        listen: SocketAddr = "\"0.0.0.0:8080\"";
        /// Addresses of proxies of your own: whom their X-Forwarded-For names counts as who asks. Nobody
        /// else's is believed.
        trusted_proxies: Vec<IpAddr> = "[]";
        /// Requests at most that one address makes of the API in a minute, and one token, wherever it comes
        /// from; more are answered 429. One with a token that is not good counts for ten; what an audience
        /// asks counts for none. Addresses of the own network, as those of a proxy that `trusted_proxies`
        /// does not name, are not counted. 0: as many as come, as with --dev.
        api_per_minute: u32 = "1200", "0 to 1000000" if |n| *n <= 1_000_000;
        /// As this, of connections to publish, to play in real time, and of sessions.
        joins_per_minute: u32 = "600", "0 to 1000000" if |n| *n <= 1_000_000;
        /// How often somebody may join one room a minute, to publish or by a session, wherever they all come
        /// from; one more is answered 429. 0: as often as they come, as with --dev.
        room_joins_per_minute: u32 = "600", "0 to 1000000" if |n| *n <= 1_000_000;
    }
    rtc: Rtc {
        /// The one port of all WebRTC connections, of UDP and TCP.
        listen: SocketAddr = "\"0.0.0.0:8189\"";
        /// Addresses that clients are told to connect to, for a server behind NAT. Empty: those
        /// of this machine's interfaces.
        public_addresses: Vec<IpAddr> = "[]";
        /// A STUN server ("host:port") that is asked at start for this machine's public address,
        /// where `public_addresses` is empty. The port must lead here unchanged. Empty: none.
        stun_server: String = "\"\"";
        /// Whether clients may connect by TCP too, where UDP is blocked (ICE-TCP, RFC 6544).
        tcp: bool = "true";
        /// Threads that forward media; the connections of one room share one. 0: one for each core.
        workers: usize = "0", "0 to 64" if |n| *n <= 64;
        /// Whether the same port serves TURN (RFC 8656) too, to this server alone, for clients
        /// who may use nothing but a relay.
        turn: bool = "true";
        /// What a coturn of yours has as `static-auth-secret`. Credentials made with it are good
        /// for a day. Empty: a new one at every start, which only our own TURN knows.
        turn_secret: String = "\"\"";
        /// Further STUN and TURN servers handed to clients: "stun:host:port",
        /// "turn:host:port?transport=udp" of a coturn with `turn_secret`, or
        /// "turn:user:password@host:port".
        ice_servers: Vec<String> = "[]";
        /// Connections at most; one more is answered 503.
        max_connections: usize = "1000", "1 to 100000" if |n| (1..=100_000).contains(n);
        /// The bitrate at which a browser is asked to start its video, in kbit/s.
        start_bitrate_kbps: u32 = "2500", "100 to 20000" if |n| (100..=20_000).contains(n);
    }
    auth: Auth {
        /// The secret that tokens are signed with (HS256), 32 characters or more. The server
        /// does not start without it, except with --dev. Make one: `openssl rand -hex 32`.
        secret: String = "\"\"", "empty or 32 characters or more" if |s| s.is_empty() || s.len() >= 32;
        /// The secret before this one, when it was changed: what it signed is good too. Leave it here until
        /// the last of those tokens ended. Empty: none.
        previous_secret: String = "\"\"", "empty or 32 characters or more" if |s| s.is_empty() || s.len() >= 32;
        /// Where an identity provider (OpenID Connect, SSO) publishes the keys that it signs its tokens with:
        /// its `jwks_uri`. Those tokens are good here, too, if they say `room` and `role`. Empty: none.
        jwks_url: String = "\"\"", "empty or a URL" if |s| s.is_empty() || s.starts_with("https://") || s.starts_with("http://");
        /// Its name, as `iss` of its tokens has it. Needed with `jwks_url`.
        issuer: String = "\"\"";
        /// This server's name there, as `aud` of its tokens has it. Needed with `jwks_url`.
        audience: String = "\"\"";
        /// What the names of `room`, `role` and `publish` begin with in its tokens: many providers want a
        /// URL there, as "https://amphi.example/".
        claims_prefix: String = "\"\"";
    }
    room: Room {
        /// Participants at most in one room.
        max_participants: usize = "50", "1 to 1000" if |n| (1..=1000).contains(n);
        /// Whether a room comes to be when somebody who may publishes into it, and goes when all left.
        /// Else there are those alone that were made by the API.
        by_use: bool = "true";
        /// Rooms at most that are in use at once.
        max_rooms: usize = "1000", "1 to 100000" if |n| (1..=100_000).contains(n);
        /// How long the place of a publisher who vanished is kept. The broadcast goes on that long.
        away_for: Duration = "\"30s\"", "up to 1 hour" if |d| *d <= Duration::from_secs(3600);
    }
    program: Program {
        /// The set of renditions: a name in pipelines/ladders.
        ladder: String = "\"default\"";
        /// The video encoder: a name in pipelines/encoders.
        encoder: String = "\"x264\"";
        /// A folder with `ladders`, `encoders` and `layouts` of your own; they win over those built in.
        /// Empty: none.
        pipelines: PathBuf = "\"\"";
        /// How long a segment is; every rendition starts its segments at the same times.
        segment: Duration = "\"2s\"", "1s to 10s" if |d| (1..=10).contains(&d.as_secs());
        /// How long a part is: shorter is less delay and more requests.
        part: Duration = "\"200ms\"", "100ms to 1s" if |d| (100..=1000).contains(&d.as_millis());
        /// Whether the largest rendition of a picture that is alone on stage is its publisher's own
        /// H.264, of the rendition's size, and not encoded anew; a room may say otherwise.
        passthrough: bool = "false";
        /// Whether the voices of quiet publishers are made louder in the program, by some 10 dB.
        /// Browsers do so by themselves; music does not like it.
        auto_gain: bool = "false";
        /// Of all the machine's cores, what broadcasts may need together. One more than fits, by what
        /// the others cost, waits, or is answered 503 where the API asks for it; the first never.
        max_cpu_percent: u32 = "90", "10 to 100000" if |n| (10..=100_000).contains(n);
        /// A broadcast's process that needs more megabytes is taken for leaking, and replaced.
        max_memory_mb: u64 = "2048", "128 to 1000000" if |n| (128..=1_000_000).contains(n);
    }
    hls: Hls {
        /// How far back a viewer can seek while live.
        window: Duration = "\"60s\"", "10s to 1h" if |d| (10..=3600).contains(&d.as_secs());
        /// How long the playlist of a broadcast that ended is still served.
        ended_for: Duration = "\"60s\"", "up to 1 hour" if |d| *d <= Duration::from_secs(3600);
        /// Requests at most that wait for parts to come, over all rooms.
        max_waiting: usize = "50000", "100 to 1000000" if |n| (100..=1_000_000).contains(n);
    }
    recording: Recording {
        /// Whether broadcasts are recorded.
        enabled: bool = "true";
        /// Where the folder `recordings` is: empty for the data folder, a path, or
        /// "s3://bucket/prefix".
        store: String = "\"\"";
        /// The S3 server's URL when it is not AWS, as "http://127.0.0.1:9000".
        s3_endpoint: String = "\"\"";
        /// The S3 region.
        s3_region: String = "\"us-east-1\"";
        /// The S3 access key. Empty: from the machine's role or the AWS_ environment.
        s3_access_key_id: String = "\"\"";
        /// The S3 secret key.
        s3_secret_access_key: String = "\"\"";
        /// While the storage is away, segments wait in the data folder: for each recording at
        /// most this many megabytes, an hour of the default ladder is 1500.
        spool_max_mb: u64 = "4096", "16 to 1000000" if |n| (16..=1_000_000).contains(n);
        /// Recordings are deleted this long after their end, as "30d"; "0s" keeps them for ever.
        keep_for: Duration = "\"0s\"";
    }
    data: Data {
        /// The folder for recordings.
        dir: PathBuf = "\"data\"";
        /// Where webhooks and what they are still to be told are kept: "postgres://user:password@host/name".
        /// Empty: in amphi.db in the data folder (SQLite).
        database: String = "\"\"";
    }
    webhooks: Webhooks {
        /// Whether webhooks may be sent to addresses inside the own network. Who may make a webhook
        /// could reach there what only this server can.
        allow_private_addresses: bool = "false";
    }
    log: Log {
        /// `text` for people, `json` for machines.
        format: LogFormat = "\"text\"";
        /// What is logged, in tracing's filter syntax: a level, or target=level, separated by commas.
        filter: String = "\"info\"";
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Value for LogFormat {
    const KIND: &'static str = "\"text\" or \"json\"";
    fn read(value: &toml::Value) -> Option<Self> {
        match value.as_str()? {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }
}

/// A default is text of ours, and a test reads every one of them.
fn default<T: Value>(key: &str, toml: &str) -> T {
    format!("v = {toml}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|table| T::read(table.get("v")?))
        .unwrap_or_else(|| unreachable!("the default of {key} does not read: {toml}"))
}
