// What a strict reader says of our playlists, while live and after the end.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { serve, until } from "./harness.mjs";
import { checkStream } from "./playlists.mjs";

test("hls-parser finds no fault, live and recorded", { timeout: 120_000 }, async (t) => {
  const { base } = await serve(t);
  const publisher = spawn(process.env.AMPHI_BIN, ["publish", "test", "--size", "640x360", "--whip", `${base}/whip/strict`, "--for", "14s"]);
  t.after(() => publisher.kill("SIGKILL"));
  const left = once(publisher, "exit");
  const live = `${base}/live/strict/index.m3u8`;
  await until(async () => (await fetch(live)).ok);
  const seen = Object.entries(await checkStream(live, 60));
  assert.equal(seen.length, 3, "two pictures and a sound");
  for (const [url, figures] of seen) {
    assert.ok(figures.ended && figures.segments >= 4 && figures.parts >= 30, `${url}: ${JSON.stringify(figures)}`);
    assert.equal(figures.discontinuities, 0, url);
  }
  await left;

  const recording = await until(async () => {
    const { items } = await (await fetch(`${base}/api/v1/recordings`)).json();
    return items.find((item) => item.state === "complete");
  });
  const vod = Object.entries(await checkStream(`${base}/vod/${recording.id}/index.m3u8`));
  for (const [url, figures] of vod) assert.ok(figures.ended && figures.segments >= 6, `${url}: ${JSON.stringify(figures)}`);
});
