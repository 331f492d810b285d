// Colours come out as they went in: a browser's H.264 says what its numbers mean (of a canvas, BT.709
// of full range), and the program says so of its own.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COLOURS } from "./colours.mjs";
import { SMALL, browser, open, serve, until, untilMoving } from "./harness.mjs";

/** What encoding may cost. */
const MOST_OFF = 8;

/** Publishes bars of these colours in H.264; to be run in a page. */
async function publishBars({ base, colours, width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  setInterval(() => colours.forEach((colour, at) => {
    context.fillStyle = `rgb(${colour})`;
    context.fillRect((at * width) / colours.length, 0, width / colours.length, height);
  }), 66);
  const pc = window.publishing = new RTCPeerConnection();
  const transceiver = pc.addTransceiver(canvas.captureStream(15).getVideoTracks()[0], { direction: "sendonly" });
  const { codecs } = RTCRtpSender.getCapabilities("video");
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === "video/H264"));
  await pc.setLocalDescription();
  const answer = await fetch(`${base}/whip/show?name=Ada`, {
    method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" },
  });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}

/** The middle of each bar as it is seen; to be run in the watch page. */
function seenBars(count) {
  const canvas = Object.assign(document.createElement("canvas"), { width: count, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const video = document.querySelector("hls-video").nativeEl;
  for (let at = 0; at < count; at++) {
    const left = ((at + 0.5) * video.videoWidth) / count;
    context.drawImage(video, left, video.videoHeight / 2, 1, 1, at, 0, 1, 1);
  }
  const { data } = context.getImageData(0, 0, count, 1);
  return Array.from({ length: count }, (_, at) => [...data.slice(4 * at, 4 * at + 3)]);
}

for (const [width, height] of [[1280, 720], [320, 180]]) {
  test(`colours come out as they went in, ${height} lines`, { timeout: 90_000 }, async (t) => {
    const { base } = await serve(t);
    const context = await browser(t, { bypassCSP: true });
    const page = await open(context, `${base}/`);
    await page.evaluate(publishBars, { base, colours: COLOURS, width, height });
    const watcher = await open(context, `${base}/watch/show`);
    await watcher.setViewportSize(SMALL);
    await untilMoving(watcher);
    await until(async () => {
      const seen = await watcher.evaluate(seenBars, COLOURS.length);
      const off = seen.map((bar, at) => Math.max(...bar.map((value, of) => Math.abs(value - COLOURS[at][of]))));
      assert.ok(Math.max(...off) <= MOST_OFF, `seen ${seen.join(" | ")} for ${COLOURS.join(" | ")}`);
      return true;
    });
  });
}
