// A private room in a real browser: nothing without a token, everything with one, and who waits is told until when.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { browser, open, publishClock, serve, until, untilMoving, untilShow } from "./harness.mjs";

const SECRET = "a secret of at least 32 characters";

function token(...about) {
  return execFileSync(process.env.AMPHI_BIN, ["token", ...about], { env: { PATH: process.env.PATH, AMPHI_AUTH_SECRET: SECRET } }).toString().trim();
}

test("a private room plays for who holds a token, live and recorded", { timeout: 120_000 }, async (t) => {
  const { base } = await serve(t, { secret: SECRET });
  const context = await browser(t);
  const host = token("--room", "*", "--role", "host");
  const viewer = token("--room", "demo", "--role", "viewer");
  const room = `${base}/api/v1/rooms/demo`;
  const set = (settings) => fetch(room, {
    method: "PUT",
    headers: { authorization: `Bearer ${host}`, "content-type": "application/json" },
    body: JSON.stringify(settings),
  });
  const at = new Date(Date.now() + 3600_000);
  assert.equal((await set({ private: true, starts_at: at.toISOString() })).status, 201);

  const stranger = await context.newPage();
  await stranger.goto(`${base}/watch/demo`);
  await untilShow(stranger, "refused");
  const guest = await open(context, `${base}/watch/demo#token=${viewer}`);
  const loaded = [];
  guest.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  await untilShow(guest, "waiting");
  await guest.getByText(/demo starts (today|on .*) at/).waitFor();
  if (process.env.AMPHI_SCREENSHOT) await guest.screenshot({ path: process.env.AMPHI_SCREENSHOT });

  const publisher = await publishClock(context, base, "demo", `#token=${host}`);
  await untilShow(guest, "playing");
  await untilMoving(guest);
  await guest.waitForTimeout(3_000);
  const media = loaded.filter((path) => /\.(m3u8|m4s|mp4)$/.test(path));
  assert.ok(media.length > 10, `it loads ${media.length} files`);
  assert.deepEqual(media.filter((path) => !path.startsWith(`/with/${viewer}/live/demo/`)), []);
  await untilShow(stranger, "refused");

  await publisher.locator("#toggle").click();
  const link = guest.getByRole("link", { name: "Watch the recording" });
  await link.waitFor({ timeout: 30_000 });
  const recording = new URL(await link.getAttribute("href"), base);
  assert.equal(recording.hash, `#token=${viewer}`);
  const seen = await open(context, recording.href);
  await until(() => seen.evaluate(() => {
    const video = document.querySelector("hls-video")?.nativeEl;
    return video && video.readyState >= 2;
  }));
  await until(() => seen.locator("#download").isVisible());
  const film = await seen.locator("#download").getAttribute("href");
  assert.equal((await fetch(new URL(film, base), { method: "HEAD" })).status, 200);
  const closed = await context.newPage();
  await closed.goto(`${base}${recording.pathname}`);
  await closed.getByText("You cannot watch this recording").waitFor();
  assert.deepEqual([...guest.complaints, ...seen.complaints], []);
});
