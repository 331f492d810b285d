//! What the door's settings say.

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
    check("turn:turn.example.net", None);
    check("https://example.net", None);
    check("stun:a\"b", None);
}
