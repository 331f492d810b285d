// How much later a speaker's picture comes through the server than by a direct connection between
// the same pages, and how soon a WHEP player's first frame. Both at once: the machine is the same.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/delay.bench.mjs

import { addClock } from "./clock.mjs";
import { browser, open, percentile, serve } from "./harness.mjs";

const SECONDS = Number(process.env.AMPHI_DELAY_SECONDS ?? 20);
const SETTLE_MS = 6_000;
const PLAYERS = 7;

/** Publishes a track by WHIP, and offers it to another page directly; both as H.264. */
async function speak(base) {
  const track = window.drawClock();
  const connect = (direction) => {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const transceiver = pc.addTransceiver(track, { direction, sendEncodings: [{ maxBitrate: 1_500_000 }] });
    const { codecs } = RTCRtpSender.getCapabilities("video");
    const first = (codec) => (/h264/i.test(codec.mimeType) && /42e0.*/.test(codec.sdpFmtpLine) && /packetization-mode=1/.test(codec.sdpFmtpLine) ? 0 : 1);
    transceiver.setCodecPreferences([...codecs].sort((a, b) => first(a) - first(b)));
    return pc;
  };
  const gathered = async (pc) => {
    await pc.setLocalDescription();
    if (pc.iceGatheringState !== "complete") {
      await new Promise((done) => pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && done()));
    }
    return pc.localDescription.sdp;
  };
  const whip = connect("sendonly");
  const response = await fetch(`${base}/whip/delay?name=speaker`, {
    method: "POST", headers: { "content-type": "application/sdp" }, body: await gathered(whip),
  });
  await whip.setRemoteDescription({ type: "answer", sdp: await response.text() });
  window.direct = connect("sendonly");
  return gathered(window.direct);
}

/** Plays both in another page, and notes when each of the drawn times is seen. */
async function listenTo({ base, offer }) {
  window.seen = { direct: new Map(), server: new Map() };
  const play = (pc, name) => {
    pc.ontrack = ({ track }) => {
      const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true, width: 320 });
      video.srcObject = new MediaStream([track]);
      document.body.append(video);
      window.readClock(video, (drawn, late) => window.seen[name].set(drawn, late));
    };
  };
  const gathered = async (pc) => {
    await pc.setLocalDescription();
    if (pc.iceGatheringState !== "complete") {
      await new Promise((done) => pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && done()));
    }
    return pc.localDescription.sdp;
  };
  const direct = new RTCPeerConnection();
  play(direct, "direct");
  await direct.setRemoteDescription({ type: "offer", sdp: offer });
  const answer = await gathered(direct);
  const whep = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  play(whep, "server");
  whep.addTransceiver("video", { direction: "recvonly" });
  const response = await fetch(`${base}/whep/delay/speaker`, {
    method: "POST", headers: { "content-type": "application/sdp" }, body: await gathered(whep),
  });
  await whep.setRemoteDescription({ type: "answer", sdp: await response.text() });
  window.kept = [direct, whep];
  return answer;
}

/** From the WHEP POST to the first frame, and what of it was the connection. */
async function firstFrame(base) {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  pc.addTransceiver("video", { direction: "recvonly" });
  const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true });
  const shown = new Promise((done) => {
    pc.ontrack = ({ track }) => {
      video.srcObject = new MediaStream([track]);
      video.requestVideoFrameCallback(done);
    };
  });
  let connected;
  pc.onconnectionstatechange = () => {
    if (pc.connectionState === "connected") connected = performance.now();
  };
  await pc.setLocalDescription();
  const start = performance.now();
  const response = await fetch(`${base}/whep/delay/speaker`, {
    method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp,
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  await shown;
  const end = performance.now();
  pc.close();
  await fetch(new URL(response.headers.get("location"), base), { method: "DELETE" });
  return { connected: connected - start, frame: end - start };
}

const endings = [];
const t = { after: (ending) => endings.unshift(ending) };
try {
  const { base } = await serve(t);
  const context = await browser(t, { bypassCSP: true });
  const [speaker, listener] = [await open(context, `${base}/`), await open(context, `${base}/`)];
  await addClock(speaker);
  await addClock(listener);
  const offer = await speaker.evaluate(speak, base);
  await speaker.waitForTimeout(2_000);
  const answer = await listener.evaluate(listenTo, { base, offer });
  await speaker.evaluate((sdp) => window.direct.setRemoteDescription({ type: "answer", sdp }), answer);
  await listener.waitForTimeout(SETTLE_MS);
  await listener.evaluate(() => Object.values(window.seen).forEach((seen) => seen.clear()));
  await listener.waitForTimeout(SECONDS * 1000);
  const { direct, server } = await listener.evaluate(() => ({ direct: [...window.seen.direct], server: [...window.seen.server] }));
  const quantiles = (late) => {
    const sorted = [...late].sort((a, b) => a - b);
    return `p50 ${percentile(sorted, 0.5).toFixed(1)} ms, p95 ${percentile(sorted, 0.95).toFixed(1)} ms over ${sorted.length} frames`;
  };
  console.log(`canvas to picture, direct connection:   ${quantiles(direct.map(([, late]) => late))}`);
  console.log(`canvas to picture, through the server:  ${quantiles(server.map(([, late]) => late))}`);
  const of = new Map(direct);
  const more = server.filter(([drawn]) => of.has(drawn)).map(([drawn, late]) => late - of.get(drawn));
  console.log(`the same frame, later by:               ${quantiles(more)} (budget: 5 ms)`);
  const first = [];
  for (let nth = 0; nth < PLAYERS; nth++) {
    first.push(await listener.evaluate(firstFrame, base));
    await listener.waitForTimeout(700);
  }
  const median = (of) => percentile(first.map(of).sort((a, b) => a - b), 0.5).toFixed(0);
  console.log(`WHEP POST to connected: p50 ${median((one) => one.connected)} ms; to the first frame: p50 ${median((one) => one.frame)} ms, ` +
    `worst ${Math.max(...first.map((one) => one.frame)).toFixed(0)} ms over ${PLAYERS} players (budget: 400 ms)`);
} finally {
  for (const ending of endings) await ending();
}
