// The publisher's own H.264 in the largest rendition, and the canvas again, while people watch.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { SMALL, browser, open, publishClock, serve, until, untilMoving, untilShow } from "./harness.mjs";
import { addClock } from "./clock.mjs";
import { checkStream, discontinuities, encodings, playlists } from "./playlists.mjs";
import { play, received } from "./whep.mjs";

const TIMES = 2;
/** As Chromium encodes H.264, and the server does not. */
const BASELINE = 66;
/** A copy begins when the picture has the right size, at a key frame; on a busy machine that takes a while. */
const COPIED_WITHIN_MS = 60_000;
const WATCHED_FOR_MS = 6_000;

async function direct(base, room, direction) {
  const response = await fetch(`${base}/api/v1/rooms/${room}/broadcast`, {
    method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify(direction),
  });
  assert.ok(response.ok, await response.text());
}

test("the largest rendition is copied, and encoded again", { timeout: 300_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t, { bypassCSP: true });
  // Chromium sends smaller pictures while the machine is busy: then there is nothing to copy.
  await context.addInitScript(() => {
    const { setParameters } = RTCRtpSender.prototype;
    RTCRtpSender.prototype.setParameters = function keepSize(parameters) {
      return setParameters.call(this, { ...parameters, degradationPreference: "maintain-resolution" });
    };
  });
  const watcher = await open(context, `${base}/watch/copied?measure=10`);
  await watcher.setViewportSize(SMALL);
  const publisher = await publishClock(context, base, "copied", "&codec=h264");
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  const viewer = await open(context, `${base}/`);
  await viewer.setViewportSize(SMALL);
  await addClock(viewer);
  await viewer.evaluate(play, `${base}/whep/copied`);
  await viewer.waitForFunction(() => window.program.firstFrame !== null, null, { timeout: 20_000 });
  await watcher.waitForTimeout(5_000);
  const before = await viewer.evaluate(received);
  await watcher.evaluate(() => {
    globalThis.glasses = [];
    document.addEventListener("amphi:glass", ({ detail }) => globalThis.glasses.push(detail));
    globalThis.stallsBefore = globalThis.amphi.player.stalls.count;
  });

  const present = () => encodings(base, "copied", "720p");
  // A machine that cannot keep up shows the smaller rendition for a while, before a copy begins.
  const isShed = ({ height }) => height < 720;
  /** What comes after `before`, of which the last is a copy or not. */
  const changes = async (before, isCopy) => {
    const known = new Set(before.map(({ init }) => init));
    const all = await until(async () => {
      const now = await present();
      return (now.at(-1).profile === BASELINE) === isCopy ? now : null;
    }, { timeout: COPIED_WITHIN_MS });
    const news = all.filter(({ init }) => !known.has(init));
    const says = isCopy ? "one discontinuity when the copy begins" : "one when it ends";
    if ([before.at(-1), ...news].some(isShed)) t.diagnostic(`${says}, and ${news.length - 1} of a machine that does not keep up`);
    else assert.equal(news.length, 1, says);
    return all;
  };
  const stalled = () => watcher.evaluate(() => ({ ...globalThis.amphi.player.stalls }));
  const tell = async (what, was) => {
    const is = await stalled();
    if (is.count > was.count) t.diagnostic(`${what}: ${is.count - was.count} stalls, ${(is.ms - was.ms).toFixed(0)} ms`);
    return is;
  };
  let soFar = await stalled();
  let encoded = await present();
  for (let time = 0; time < TIMES; time += 1) {
    await direct(base, "copied", { passthrough: true });
    encoded = await changes(encoded, true);
    await watcher.waitForTimeout(WATCHED_FOR_MS);
    soFar = await tell("when the copy began", soFar);
    await direct(base, "copied", { passthrough: false });
    encoded = await changes(encoded, false);
    await watcher.waitForTimeout(WATCHED_FOR_MS / 2);
    soFar = await tell("when it ended", soFar);
  }
  const all = await playlists(base, "copied");
  assert.equal(Object.keys(all).length, 3);
  for (const [name, playlist] of Object.entries(all)) {
    assert.deepEqual(discontinuities(playlist), discontinuities(all["720p"]), `${name} has them at the same numbers`);
  }
  const after = await viewer.evaluate(received);
  t.diagnostic(`by WHEP: ${after.frames - before.frames} frames, ${after.freezes - before.freezes} freezes, ${after.height} lines`);
  assert.ok(after.frames - before.frames > 100, "pictures move by WHEP too");

  const { glasses, stalls, height } = await watcher.evaluate(() => ({
    glasses: globalThis.glasses,
    stalls: globalThis.amphi.player.stalls.count - globalThis.stallsBefore,
    height: document.querySelector("hls-video").nativeEl.videoHeight,
  }));
  const late = glasses.map((glass) => glass.latency_ms).sort((a, b) => a - b);
  const unreadable = glasses.at(-1).unreadable - glasses[0].unreadable;
  t.diagnostic(`${2 * TIMES} changes: ${stalls} stalls, ${unreadable} unreadable, glass to glass p50 ${late[Math.floor(late.length / 2)]?.toFixed(0)} ms of ${late.length} frames, ${height} lines`);
  assert.ok(late.length > 100, "pictures move");
  assert.ok(unreadable <= late.length * 0.05, "and are whole");
  assert.deepEqual([...watcher.complaints, ...publisher.complaints], []);
  // Of a machine that leaves out frames before a segment's border, a part may be too long for the
  // others beside it, for as long as it is listed.
  await until(async () => (await checkStream(`${base}/live/copied/index.m3u8`, 4), true), { timeout: 40_000, every: 2_000 });

  // All of it is in the film, and can be decoded.
  await fetch(`${base}/api/v1/rooms/copied/broadcast`, { method: "DELETE" });
  const film = await until(async () => {
    const { items: [recording] } = await (await fetch(`${base}/api/v1/recordings`)).json();
    const answer = recording && (await fetch(`${base}/vod/${recording.id}/recording.mp4`, { method: "HEAD" }));
    return answer?.ok && answer.url;
  });
  const decoded = await promisify(execFile)("ffmpeg", ["-v", "error", "-i", film, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"]);
  assert.equal(decoded.stderr, "");
});
