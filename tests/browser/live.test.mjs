// The main job, in a real browser: publish a clock, watch it, read it, and say how late it is.
// Fails for what is wrong, not for what is slow: the machine may be busy.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, open, percentile, publishClock, serve, untilMoving, untilShow } from "./harness.mjs";

const SECONDS = Number(process.env.AMPHI_LIVE_SECONDS ?? 60);
/** Not in the figures: the player finds its distance. */
const SETTLE_SECONDS = 5;
/** Later than this is not live. */
const MAX_LATENCY_MS = 5_000;

for (const [codec, seconds] of [["h264", SECONDS], ["vp8", SECONDS], ["vp9", Math.min(SECONDS, 15)], ["av1", Math.min(SECONDS, 15)]]) {
  test(`glass to glass, ${codec}`, { timeout: (seconds + 90) * 1000 }, async (t) => {
    const { base } = await serve(t);
    const context = await browser(t);
    const watcher = await open(context, `${base}/watch/live-${codec}?measure`);
    await untilShow(watcher, "waiting");

    const asked = Date.now();
    const publisher = await publishClock(context, base, `live-${codec}`, `&codec=${codec}`);
    await untilShow(watcher, "playing");
    await untilMoving(watcher);
    const first = Date.now() - asked;

    await watcher.waitForTimeout(SETTLE_SECONDS * 1000);
    const before = await watcher.evaluate(() => {
      globalThis.glasses = [];
      document.addEventListener("amphi:glass", ({ detail }) => globalThis.glasses.push(detail));
      return { ...globalThis.amphi.player.stalls };
    });
    await watcher.waitForTimeout(seconds * 1000);
    const { glasses, stalls, size } = await watcher.evaluate(() => ({
      glasses: globalThis.glasses,
      stalls: { ...globalThis.amphi.player.stalls },
      size: `${document.querySelector("hls-video").nativeEl.videoWidth}x${document.querySelector("hls-video").nativeEl.videoHeight}`,
    }));

    const latencies = glasses.map((glass) => glass.latency_ms).sort((a, b) => a - b);
    const frames = glasses.length ? glasses.at(-1).frames - glasses[0].frames + 1 : 0;
    const unreadable = glasses.length ? glasses.at(-1).unreadable - glasses[0].unreadable : 0;
    const quantile = (share) => ((percentile(latencies, share) ?? Number.NaN) / 1000).toFixed(2);
    t.diagnostic(
      `${codec}: glass to glass p50 ${quantile(0.5)} s, p95 ${quantile(0.95)} s, p99 ${quantile(0.99)} s over ${seconds} s; ` +
        `${stalls.count - before.count} stalls (${Math.round(stalls.ms - before.ms)} ms); ${frames} frames, ${unreadable} unreadable, ` +
        `${size}; from the click to a moving picture ${(first / 1000).toFixed(1)} s`,
    );

    assert.ok(frames > seconds * 5, `a moving picture has more than ${frames} frames in ${seconds} s`);
    assert.ok(unreadable <= frames * 0.02, `${unreadable} of ${frames} frames show no readable clock`);
    assert.ok(latencies[0] > 0, "nothing is seen before it was drawn");
    assert.ok(percentile(latencies, 0.99) < MAX_LATENCY_MS, "it is live");

    const sent = await publisher.locator("#sent-codec").textContent();
    assert.equal(sent?.toLowerCase(), codec, "the codec that was asked for is the one that is sent");
    assert.deepEqual([...watcher.complaints, ...publisher.complaints], []);
  });
}
