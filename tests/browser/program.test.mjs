// The program in real time: by WHEP, beside LL-HLS, with two speakers on stage. Fails for what is
// wrong, not for what is slow: the machine may be busy.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { addClock } from "./clock.mjs";
import { play, received } from "./whep.mjs";
import { SMALL, browser, childOf, open, percentile, publishClock, serve, until, untilMoving, untilShow } from "./harness.mjs";

const SECONDS = Number(process.env.AMPHI_PROGRAM_SECONDS ?? 30);
const SETTLE_MS = 10_000;
/** Later than this is not in real time. */
const MAX_LATENCY_MS = 2_000;

/** A second speaker, small, until the test ends. */
function speaker(t, base, room) {
  const url = `${base}/whip/${room}?name=Bo&identity=Bo`;
  const child = spawn(process.env.AMPHI_BIN, ["publish", "test", "--whip", url, "--size", "320x180", "--bitrate", "300"], { stdio: "ignore" });
  t.after(() => child.kill("SIGTERM"));
}

async function whoIs(base, room, name) {
  return until(async () => {
    const { items } = await (await fetch(`${base}/api/v1/rooms/${room}/participants`)).json();
    return items.find((participant) => participant.name === name)?.id;
  });
}

test("the program by WHEP, and by LL-HLS, two on stage", { timeout: (SECONDS + 120) * 1000 }, async (t) => {
  const { base, pid } = await serve(t);
  const context = await browser(t, { bypassCSP: true });
  const early = await fetch(`${base}/whep/show`, { method: "POST", headers: { "content-type": "application/sdp" }, body: "v=0" });
  assert.equal(early.status, 404, "nothing is on air yet");

  const clock = await publishClock(context, base, "show", "&name=Ada&identity=Ada");
  await clock.setViewportSize(SMALL);
  speaker(t, base, "show");
  const [ada] = await Promise.all([whoIs(base, "show", "Ada"), whoIs(base, "show", "Bo")]);
  const directed = await fetch(`${base}/api/v1/rooms/show/broadcast`, {
    method: "PATCH", headers: { "content-type": "application/json" },
    body: JSON.stringify({ layout: "picture-in-picture", pinned: ada }),
  });
  assert.ok(directed.ok, await directed.text());
  await until(async () => (await fetch(`${base}/live/show/index.m3u8`)).ok);

  const viewer = await open(context, `${base}/`);
  await viewer.setViewportSize(SMALL);
  await addClock(viewer);
  const session = await viewer.evaluate(play, `${base}/whep/show`);
  await viewer.waitForFunction(() => window.program.firstFrame !== null, null, { timeout: 20_000 });
  // The last to come: where all are on one machine, each page's start is a stall of those before.
  const watcher = await open(context, `${base}/watch/show?measure=10`);
  await watcher.setViewportSize(SMALL);
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  await viewer.waitForTimeout(SETTLE_MS);
  const before = await viewer.evaluate(received);
  await viewer.evaluate(() => { window.program.late = []; });
  const stalls = await watcher.evaluate(() => {
    globalThis.glasses = [];
    document.addEventListener("amphi:glass", ({ detail }) => globalThis.glasses.push(detail.latency_ms));
    return globalThis.amphi.player.stalls.count;
  });
  await viewer.waitForTimeout(SECONDS * 1000);
  const after = await viewer.evaluate(received);
  const { late, firstFrame } = await viewer.evaluate(() => window.program);
  const watched = await watcher.evaluate(() => ({ glasses: globalThis.glasses, stalls: globalThis.amphi.player.stalls.count }));

  const quantiles = (of) => {
    const sorted = [...of].sort((a, b) => a - b);
    return `p50 ${percentile(sorted, 0.5)?.toFixed(0)} ms, p95 ${percentile(sorted, 0.95)?.toFixed(0)} ms over ${sorted.length}`;
  };
  const heard = after.samples - before.samples;
  t.diagnostic(`by WHEP: glass to glass ${quantiles(late)}; first frame ${firstFrame.toFixed(0)} ms; ${after.height} lines; ` +
    `${after.freezes - before.freezes} freezes; ${((100 * (after.concealed - before.concealed)) / heard).toFixed(2)} % of the sound concealed`);
  t.diagnostic(`by LL-HLS beside it: glass to glass ${quantiles(watched.glasses)}; ${watched.stalls - stalls} stalls`);
  assert.ok(late.length > SECONDS * 5, `only ${late.length} clocks were read`);
  assert.ok(percentile([...late].sort((a, b) => a - b), 0.5) < MAX_LATENCY_MS, "it is in real time");
  assert.ok(after.frames - before.frames > SECONDS * 10, "pictures move");
  assert.ok(after.energy > before.energy && heard > SECONDS * 24_000, "it is heard");

  // Another child goes on, and so do the players, by themselves; who sees a speaker sees no difference.
  const other = await open(context, `${base}/`);
  await addClock(other);
  await other.evaluate(play, `${base}/whep/show/Ada`);
  await other.waitForFunction(() => window.program.firstFrame !== null, null, { timeout: 20_000 });
  for (const signal of ["SIGKILL", "SIGSTOP"]) {
    const unharmed = await other.evaluate(received);
    process.kill(await childOf(pid), signal);
    await viewer.waitForTimeout(3_000);
    const since = await other.evaluate(received);
    t.diagnostic(`${signal} of the program: a speaker's picture has ${since.frames - unharmed.frames} frames in the 3 s after it, ` +
      `${since.freezes - unharmed.freezes} freezes`);
    assert.ok(since.frames > unharmed.frames + 30, "the speakers are seen all the while");
    const again = await viewer.evaluate(received);
    await viewer.waitForTimeout(1_000);
    const later = await viewer.evaluate(received);
    assert.ok(later.frames > again.frames + 10 && later.energy > again.energy, `WHEP goes on after ${signal}`);
    await untilMoving(watcher);
  }
  assert.deepEqual(watcher.complaints, []);

  const gone = await viewer.evaluate((url) => fetch(url, { method: "DELETE" }).then((answer) => answer.status), new URL(session, base).href);
  assert.equal(gone, 200);
  await clock.close();
});
