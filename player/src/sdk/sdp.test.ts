import { expect, test } from "vitest";
import { credentials, fragment, iceServers, markScreen, restarted, askForLostSound } from "./sdp";

const OFFER = [
  "v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0 1",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0", "a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
  "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "",
].join("\r\n");
const CANDIDATE = "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw";

test("a fragment is that of RFC 9725's example", () => {
  expect(fragment(OFFER, [{ candidate: CANDIDATE, sdpMid: "0" }], true).split("\r\n")).toEqual([
    "a=group:BUNDLE 0 1", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:0",
    "a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
    `a=${CANDIDATE}`, "a=end-of-candidates", "",
  ]);
});

test("a restart puts the server's new credentials into every section, candidates into the first", () => {
  const answer = OFFER.replace("a=mid:0", "a=mid:0\r\na=candidate:old 1 udp 1 192.0.2.7 1 typ host");
  const sdp = restarted(answer, "a=ice-ufrag:new\r\na=ice-pwd:secret\r\na=candidate:2 1 udp 1 192.0.2.9 9 typ host\r\n");
  expect(sdp).not.toContain("EsAw");
  expect(sdp).not.toContain("candidate:old");
  expect(sdp?.match(/a=ice-ufrag:new/g)).toHaveLength(2);
  expect(sdp?.match(/a=candidate:2/g)).toHaveLength(1);
  expect(sdp?.indexOf("a=candidate:2")).toBeLessThan(sdp?.indexOf("m=video") ?? 0);
  expect(restarted(answer, "a=candidate:2 1 udp 1 192.0.2.9 9 typ host\r\n")).toBeNull();
});

test("credentials are those of the first section", () => {
  expect(credentials(OFFER)).toEqual({ ufrag: "EsAw", pwd: "P2uYro0UCOQ4zxjKXaWCBui1" });
  expect(credentials("v=0")).toBeNull();
});

test("Link headers name ICE servers", () => {
  const check = (link: string | null, expected: RTCIceServer[]) => expect(iceServers(link)).toEqual(expected);
  check(null, []);
  check('<stun:stun.example.net>; rel="ice-server"', [{ urls: "stun:stun.example.net" }]);
  check(
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="a,b"; credential="p\\"w"; credential-type="password", ' +
      "<stun:s.example>; rel=ice-server",
    [
      { urls: "turn:turn.example.net?transport=udp", username: "a,b", credential: 'p"w' },
      { urls: "stun:s.example" },
    ],
  );
  check('<https://example.net/>; rel="next"', []);
  check('<javascript:alert(1)>; rel="ice-server"', []);
});

test("a screen is marked in its own section", () => {
  const sdp = "v=0\r\nm=video 9\r\na=mid:1\r\nm=video 9\r\na=mid:2\r\na=sendonly\r\n";
  expect(markScreen(sdp, ["2", null])).toBe(
    "v=0\r\nm=video 9\r\na=mid:1\r\nm=video 9\r\na=mid:2\r\na=content:slides\r\na=sendonly\r\n");
});

test("lost sound is asked for, once", () => {
  const sdp = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n";
  const asking = askForLostSound(sdp);
  expect(asking).toContain("opus/48000/2\r\na=rtcp-fb:111 nack\r\na=fmtp");
  expect(askForLostSound(asking)).toBe(asking);
});
