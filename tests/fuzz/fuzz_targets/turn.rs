//! Messages to our TURN, by UDP and by TCP, of one who knows a password and of strangers.
#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use amphi::rtc::core::dtls::Identity;
use amphi::rtc::core::ice::Path;
use amphi::rtc::core::turn::credential::Secret;
use amphi::rtc::core::turn::{Output, Settings, Turn, is_turn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::generate().expect("a certificate"));
    let settings = Settings {
        secret: Secret::new("north", identity.provider.clone()),
        addresses: vec!["192.0.2.1".parse().expect("an address")],
        port: 8189,
        max_clients: 4,
    };
    let mut now = Instant::now();
    let mut turn = Turn::new(settings, 0, 1, now);
    let mut rest = script;
    while let [who, len, tail @ ..] = rest {
        let (message, after) = tail.split_at(usize::from(*len).min(tail.len()));
        let remote = ([198, 51, 100, who & 7], 4000).into();
        let path = match who & 8 {
            0 => Path::udp(remote, None),
            _ => Path::tcp(remote),
        };
        is_turn(message);
        turn.handle_client(path, message, 1_700_000_000, now);
        while let Some(output) = turn.poll_output() {
            // Nothing amplifies, and nothing goes on to a connection without a password.
            match output {
                Output::ToClient(_, answer) => assert!(answer.len() < message.len() + 200),
                Output::ToConnection(..) => panic!("relayed for a stranger"),
                Output::Close(_) => {}
            }
        }
        now += Duration::from_millis(u64::from(*who));
        turn.handle_timeout(now);
        rest = after;
    }
});
