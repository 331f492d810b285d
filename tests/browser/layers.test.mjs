// SVC: VP9 and AV1 come in spatial layers of one source, and each subscriber gets those that its size is
// worth; so does the program.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, publishClock, serve, speak, until, untilMoving, untilShow } from "./harness.mjs";

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
