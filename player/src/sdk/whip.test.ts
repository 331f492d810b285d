import { beforeEach, expect, test, vi } from "vitest";
import { Problem } from "./problem";
import { WhipSession } from "./whip";

const SDP = (ufrag: string) =>
  ["v=0", "a=group:BUNDLE 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:0", `a=ice-ufrag:${ufrag}`, "a=ice-pwd:secret", ""]
    .join("\r\n");

/** As much of a peer connection as WHIP touches. */
class FakePeerConnection extends EventTarget {
  localDescription: { sdp: string } | null = null;
  remoteDescription: { sdp: string } | null = null;
  iceGatheringState = "complete";
  onicecandidate: ((event: { candidate: unknown }) => void) | null = null;
  closed = false;
  configuration: RTCConfiguration = {};
  generation = 0;
  async createOffer(options?: { iceRestart?: boolean }) {
    if (options?.iceRestart) this.generation++;
    return { type: "offer", sdp: SDP(`local${this.generation}`) };
  }
  async setLocalDescription(description: { sdp: string }) {
    this.localDescription = description;
  }
  async setRemoteDescription(description: { sdp: string }) {
    this.remoteDescription = description;
  }
  getConfiguration() {
    return this.configuration;
  }
  setConfiguration(configuration: RTCConfiguration) {
    this.configuration = configuration;
  }
  close() {
    this.closed = true;
  }
}

interface Seen {
  method: string;
  url: string;
  headers: Headers;
  body: string;
  keepalive: boolean;
}

/** What the server says of its relays before the offer. */
let relays = "";
beforeEach(() => {
  relays = "";
});

/** A server that answers from a list, and what it was asked. */
function server(...answers: (() => Response)[]) {
  const seen: Seen[] = [];
  const fetch = async (url: string | URL | Request, init: RequestInit = {}) => {
    // Asked for its ICE servers, before all else.
    if (init.method === "OPTIONS") return new Response(null, { headers: { link: relays } });
    seen.push({
      method: init.method ?? "GET", url: String(url), headers: new Headers(init.headers),
      body: String(init.body ?? ""), keepalive: init.keepalive ?? false,
    });
    const answer = answers.shift();
    if (!answer) throw new TypeError("Failed to fetch");
    return answer();
  };
  return { seen, fetch: fetch as typeof globalThis.fetch };
}

const created = (headers: Record<string, string> = {}) => () =>
  new Response(SDP("remote0"), { status: 201, headers: { location: "/whip/demo/1", etag: '"a"', ...headers } });
const status = (code: number) => () => new Response(null, { status: code });

async function opened(...answers: (() => Response)[]) {
  const pc = new FakePeerConnection();
  const { seen, fetch } = server(...answers);
  const session = await WhipSession.open(() => {}, {
    endpoint: "https://amphi.test/whip/demo?name=Ada", token: "t", fetch,
    connect: () => pc as unknown as RTCPeerConnection,
  });
  return { pc, seen, session };
}

test("knows the server's relays before it offers", async () => {
  relays = '<turn:192.0.2.1:8189?transport=tcp>; rel="ice-server"; username="u"; credential="p"';
  const { pc } = await opened(created());
  const server = { urls: "turn:192.0.2.1:8189?transport=tcp", username: "u", credential: "p" };
  expect(pc.configuration.iceServers).toEqual([server]);
});

test("opens with a POST of SDP, and leaves with a DELETE that outlives the page", async () => {
  const { pc, seen, session } = await opened(created(), status(200));
  expect(seen[0]).toMatchObject({ method: "POST", url: "https://amphi.test/whip/demo?name=Ada", body: SDP("local0") });
  expect(seen[0]?.headers.get("content-type")).toBe("application/sdp");
  expect(seen[0]?.headers.get("authorization")).toBe("Bearer t");
  expect(pc.remoteDescription?.sdp).toBe(SDP("remote0"));

  session.close();
  session.close();
  expect(pc.closed).toBe(true);
  expect(seen.slice(1)).toMatchObject([{ method: "DELETE", url: "https://amphi.test/whip/demo/1", keepalive: true }]);
  expect(seen[1]?.headers.get("authorization")).toBe("Bearer t");
});

test("keeps the ICE servers that the answer names, for a restart", async () => {
  const { pc } = await opened(created({ link: '<turn:t.example>; rel="ice-server"; username="u"; credential="c"' }));
  expect(pc.configuration.iceServers).toEqual([{ urls: "turn:t.example", username: "u", credential: "c" }]);
});

test("trickles late candidates together, under the session's ETag", async () => {
  vi.useFakeTimers();
  const { pc, seen } = await opened(created(), status(204));
  pc.onicecandidate?.({ candidate: { candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host" } });
  pc.onicecandidate?.({ candidate: { candidate: "candidate:2 1 udp 1 192.0.2.2 2 typ host" } });
  pc.onicecandidate?.({ candidate: null });
  await vi.advanceTimersByTimeAsync(100);
  vi.useRealTimers();
  expect(seen).toHaveLength(2);
  expect(seen[1]).toMatchObject({ method: "PATCH", url: "https://amphi.test/whip/demo/1" });
  expect(seen[1]?.headers.get("if-match")).toBe('"a"');
  expect(seen[1]?.headers.get("content-type")).toBe("application/trickle-ice-sdpfrag");
  expect(seen[1]?.body.match(/a=candidate/g)).toHaveLength(2);
  expect(seen[1]?.body).toContain("a=end-of-candidates");
});

test("restarts ICE by PATCH and takes the server's new credentials", async () => {
  const restart = () => new Response("a=ice-ufrag:remote1\r\na=ice-pwd:new\r\n", { headers: { etag: '"b"' } });
  const { pc, seen, session } = await opened(created(), restart);
  await session.restartIce();
  expect(seen[1]?.headers.get("if-match")).toBe("*");
  expect(seen[1]?.body).toContain("a=ice-ufrag:local1");
  expect(pc.remoteDescription?.sdp).toContain("a=ice-ufrag:remote1");
});

test("a refusal is the server's own sentence", async () => {
  const refused = () =>
    new Response('{"title":"Forbidden","status":403,"detail":"this token is for room x"}', {
      status: 403, headers: { "content-type": "application/problem+json" },
    });
  const failure = opened(refused);
  await expect(failure).rejects.toBeInstanceOf(Problem);
  await expect(failure).rejects.toMatchObject({ status: 403, detail: "this token is for room x", isPassing: false });
});

test("no answer, and a restarted server that knows no such session, are told apart", async () => {
  await expect(opened()).rejects.toMatchObject({ status: 0, isPassing: true });
  const { session } = await opened(created(), status(404));
  await expect(session.restartIce()).rejects.toMatchObject({ status: 404 });
});
