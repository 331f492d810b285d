// A camera comes in layers: each subscriber gets what its size is worth, of SVC (spatial layers of one
// source, VP9 and AV1) as of simulcast; so does the program; and what nobody shows is not sent. Where not
// even the smallest layer fits, a part of its frames does (temporal layers).

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  browser, freePort, keepConnections, open, publishClock, serve, speak, until, untilMoving, untilShow,
} from "./harness.mjs";
import { shaper, throughShaper } from "./shaper.mjs";

const CAMERA = ["--use-fake-device-for-media-stream=fps=10"];

/** The other speaker's tile. */
function tile(page) {
  return page.evaluate(() => {
    const video = document.querySelector("#stage .tile video");
    return { height: video?.videoHeight ?? 0, frames: video?.getVideoPlaybackQuality().totalVideoFrames ?? 0 };
  });
}

/** Shows the other speaker at this height, and waits until that is what comes. */
async function show(page, shown_px, height) {
  await page.evaluate((shown_px) => {
    const video = document.querySelector("#stage .tile video");
    Object.assign(video.style, { height: `${shown_px}px`, maxHeight: "none" });
  }, shown_px);
  let seen;
  const since = Date.now();
  await until(async () => (seen = await tile(page)).height === height, { timeout: 30_000 })
    .catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(seen)}, not ${height} for ${shown_px}`); });
  await until(async () => (await tile(page)).frames > seen.frames + 10);
  return Date.now() - since;
}

for (const codec of ["vp9", "av1"]) test(`each gets the spatial layers of ${codec} that fit`, { timeout: 180_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t, { args: CAMERA });
  const watcher = await open(context, `${base}/watch/demo`);
  const ann = await publishClock(context, base, "demo", `&name=ann&identity=ann&codec=${codec}`);
  const bob = await speak(context, base, "demo", "bob");
  await until(async () => (await tile(bob)).frames > 0);
  const took = [];
  for (const [shown_px, height] of [[700, 720], [100, 180], [300, 360], [700, 720], [300, 360]]) {
    took.push(`${height} lines after ${await show(bob, shown_px, height)} ms`);
  }
  t.diagnostic(took.join(", "));
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  assert.deepEqual([...ann.complaints, ...bob.complaints, ...watcher.complaints], []);
});

/** The layers that a page encodes of its camera. */
function sent(page) {
  return page.evaluate(() => {
    const all = window.connections.flatMap((connection) => connection.getSenders());
    const layered = all.map((sender) => sender.getParameters().encodings).find((encodings) => encodings.length > 1);
    return layered?.filter(({ active }) => active).map(({ rid }) => rid).join("");
  });
}

test("no layer is sent that is larger than anybody shows it", { timeout: 180_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t, { args: CAMERA });
  await context.addInitScript(keepConnections);
  const ann = await publishClock(context, base, "demo", "&name=ann&identity=ann");
  const bob = await speak(context, base, "demo", "bob");
  await until(async () => (await tile(bob)).frames > 0);
  // The program would show her large.
  const room = `${base}/api/v1/rooms/demo`;
  const { items } = await (await fetch(`${room}/participants`)).json();
  const { id } = items.find(({ identity }) => identity === "ann");
  const left = await fetch(`${room}/participants/${id}`, {
    method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ on_stage: false }),
  });
  assert.equal(left.status, 200);

  await show(bob, 100, 180);
  await until(async () => (await sent(ann)) === "q", { timeout: 30_000 });
  t.diagnostic(`360 lines after ${await show(bob, 300, 360)} ms, 720 after ${await show(bob, 700, 720)} ms`);
  assert.equal(await sent(ann), "qhf");
  await show(bob, 300, 360);
  await until(async () => (await sent(ann)) === "qh", { timeout: 30_000 });
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

/** Sound, and not all of the smallest picture. */
const NARROW = { bps: 160_000 };

for (const codec of ["h264", "vp8"]) test(`a path too narrow for all frames of ${codec} gets some`, { timeout: 180_000 }, async (t) => {
  const port = await freePort();
  const { base } = await serve(t, { rtc: `127.0.0.1:${port}`, env: { AMPHI_RTC_TURN: "false" } });
  const path = await shaper(t, port);
  const near = await browser(t, { args: CAMERA });
  const far = await browser(t, { args: CAMERA });
  await far.addInitScript(throughShaper, { server: port, shaper: path.port });
  const ann = await publishClock(near, base, "demo", `&name=ann&identity=ann&codec=${codec}`);
  const bob = await speak(far, base, "demo", "bob");
  await until(async () => (await tile(bob)).frames > 0);
  const participants = `${base}/api/v1/rooms/demo/participants`;
  const { items } = await (await fetch(participants)).json();
  const { id } = items.find(({ name }) => name === "bob");
  const picture = async () => {
    const { connections } = await (await fetch(`${participants}/${id}`)).json();
    const { sent } = connections.find(({ purpose }) => purpose === "subscribe");
    return sent.find(({ kind }) => kind === "video");
  };
  let seen;
  /** Waits for such a picture, and that it moves. */
  const arrives = async (is) => {
    await until(async () => !(seen = await picture()).paused && is(seen), { timeout: 60_000 })
      .catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(seen)}`); });
    const { frames } = await tile(bob);
    await until(async () => (await tile(bob)).frames > frames + 3);
  };

  path.shape({}, NARROW);
  const narrowed = Date.now();
  await arrives(({ layer, temporal_layer }) => layer === 0 && temporal_layer !== null);
  const widened = Date.now();
  path.shape({}, {});
  await arrives(({ temporal_layer }) => temporal_layer === null);
  t.diagnostic(`fewer frames after ${widened - narrowed} ms, all of them again after ${Date.now() - widened} ms`);
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});
