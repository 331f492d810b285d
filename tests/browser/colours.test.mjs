// Colours come out as they went in. A browser says what its numbers mean: H.264 in the stream, VP8 in
// an RTP header extension (a canvas is BT.709 of full range). The program says so of its own, and who
// is forwarded is told what the publisher said.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COLOURS } from "./colours.mjs";
import { SMALL, browser, open, serve, until, untilMoving } from "./harness.mjs";

/** What encoding may cost. */
const MOST_OFF = 8;

/** Publishes bars of these colours; to be run in a page. */
async function publishBars({ base, colours, codec, width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  setInterval(() => colours.forEach((colour, at) => {
    context.fillStyle = `rgb(${colour})`;
    context.fillRect((at * width) / colours.length, 0, width / colours.length, height);
  }), 66);
  const pc = window.publishing = new RTCPeerConnection();
  window.bars = canvas.captureStream(15).getVideoTracks()[0];
  const transceiver = pc.addTransceiver(window.bars, { direction: "sendonly" });
  const { codecs } = RTCRtpSender.getCapabilities("video");
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === `video/${codec}`));
  await pc.setLocalDescription();
  const answer = await fetch(`${base}/whip/show?name=Ada`, {
    method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" },
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}

/** Sends the camera instead, or the bars again; to be run in the page that publishes. */
async function change(isCamera) {
  const [sender] = window.publishing.getSenders();
  if (!isCamera) return sender.replaceTrack(window.bars);
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360 } });
  const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, id: "ada", srcObject: stream });
  document.body.append(video);
  await video.play();
  return sender.replaceTrack(stream.getVideoTracks()[0]);
}

/** Plays what Ada sends as it came; to be run in a page. */
async function playAda({ base }) {
  const pc = window.playing = new RTCPeerConnection();
  const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, id: "ada" });
  document.body.append(video);
  pc.ontrack = ({ streams: [stream] }) => { video.srcObject = stream; };
  pc.addTransceiver("video", { direction: "recvonly" });
  await pc.setLocalDescription();
  const answer = await fetch(`${base}/whep/show/Ada`, {
    method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" },
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}

/** The middle of each bar as it is seen, at this share of the height; to be run in a page that plays. */
function seenBars({ count, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width: count, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const video = document.querySelector("hls-video")?.nativeEl ?? document.querySelector("#ada");
  for (let at = 0; at < count; at++) {
    const left = ((at + 0.5) * video.videoWidth) / count;
    context.drawImage(video, left, height * video.videoHeight, 1, 1, at, 0, 1, 1);
  }
  const { data } = context.getImageData(0, 0, count, 1);
  return Array.from({ length: count }, (_, at) => [...data.slice(4 * at, 4 * at + 3)]);
}

/** Waits until a page shows these colours. */
function untilShows(page, colours, height = 0.5) {
  return until(async () => {
    const seen = await page.evaluate(seenBars, { count: colours.length, height });
    const off = seen.map((bar, at) => Math.max(...bar.map((value, of) => Math.abs(value - colours[at][of]))));
    assert.ok(Math.max(...off) <= MOST_OFF, `${page.url()}: seen ${seen.join(" | ")} for ${colours.join(" | ")}`);
    return true;
  });
}

for (const [codec, width, height] of [["H264", 1280, 720], ["H264", 320, 180], ["VP8", 1280, 720], ["VP9", 320, 180], ["AV1", 320, 180]]) {
  test(`colours come out as they went in, ${codec} of ${height} lines`, { timeout: 150_000 }, async (t) => {
    const { base } = await serve(t);
    const context = await browser(t, { bypassCSP: true });
    // A page that may have a camera.
    const page = await open(context, `${base}/publish/other`);
    await page.evaluate(publishBars, { base, colours: COLOURS, codec, width, height });
    const watcher = await open(context, `${base}/watch/show`);
    await watcher.setViewportSize(SMALL);
    await untilMoving(watcher);
    const player = await open(context, `${base}/`);
    await player.evaluate(playAda, { base });
    await player.waitForFunction(() => document.querySelector("#ada").videoWidth > 0, null, { timeout: 20_000 });
    for (const shows of [watcher, player]) await untilShows(shows, COLOURS);

    // A camera is BT.601, and says nothing of it; of another size, it begins with a key frame. At its
    // lower border nothing moves.
    await page.evaluate(change, true);
    const camera = await page.evaluate(seenBars, { count: 4, height: 0.95 });
    t.diagnostic(`a camera of ${camera.join(" | ")}`);
    for (const shows of [watcher, player]) await untilShows(shows, camera, 0.95);
    await page.evaluate(change, false);
    for (const shows of [watcher, player]) await untilShows(shows, COLOURS);
  });
}
