// A small picture is not magnified by an encoder: the largest rendition is a copy of the next one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { browser, open, serve, until, untilMoving, untilShow } from "./harness.mjs";
import { checkStream, discontinuities, playlists } from "./playlists.mjs";

/** After half a minute without detail, at the next segment; on a busy machine a little later. */
const CHANGED_WITHIN_MS = 60_000;
const WATCHED_FOR_MS = 6_000;

function publish(t, base, ...about) {
  const publisher = spawn(process.env.AMPHI_BIN, ["publish", "test", "--whip", `${base}/whip/small`, ...about], { stdio: "ignore" });
  t.after(() => publisher.kill("SIGINT"));
}

test("what would only be magnified is not encoded", { timeout: 240_000 }, async (t) => {
  const { base } = await serve(t);
  publish(t, base, "--size", "640x360");
  const context = await browser(t, { bypassCSP: true });
  const watcher = await open(context, `${base}/watch/small?measure`);
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  const height = () => watcher.evaluate(() => document.querySelector("hls-video").nativeEl.videoHeight);
  await until(async () => (await height()) === 720);
  await watcher.evaluate(() => {
    globalThis.glasses = [];
    document.addEventListener("amphi:glass", ({ detail }) => globalThis.glasses.push(detail));
    globalThis.stallsBefore = globalThis.amphi.player.stalls.count;
  });
  const changed = (count) => until(async () => {
    const { "720p": top } = await playlists(base, "small");
    return discontinuities(top).length >= count;
  }, { timeout: CHANGED_WITHIN_MS });

  await changed(1);
  await until(async () => (await height()) === 360);
  await watcher.waitForTimeout(WATCHED_FOR_MS);

  // There is more to see again.
  publish(t, base, "--size", "1280x720", "--name", "large");
  await changed(2);
  await until(async () => (await height()) === 720);
  await watcher.waitForTimeout(WATCHED_FOR_MS);

  const { glasses, stalls } = await watcher.evaluate(() => ({
    glasses: globalThis.glasses,
    stalls: globalThis.amphi.player.stalls.count - globalThis.stallsBefore,
  }));
  const alone = glasses.filter((glass) => glass.latency_ms !== null);
  t.diagnostic(`2 changes: ${stalls} stalls, ${alone.length} pictures read`);
  assert.ok(alone.length > 100, "pictures move");
  assert.deepEqual(watcher.complaints, []);
  await checkStream(`${base}/live/small/index.m3u8`, 4);
});
