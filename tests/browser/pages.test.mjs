// The pages in all their states, with a real server: usable, accessible, and mending themselves.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import { browser, childOf, folder, freePort, open, publishClock, serve, until, untilMoving, untilShow } from "./harness.mjs";

const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PHONE = { width: 390, height: 844 };

/** No finding of axe-core, in light and in dark, at desktop and at phone size. */
async function accessible(page, what) {
  const desktop = page.viewportSize();
  for (const colorScheme of ["light", "dark"]) {
    for (const size of [desktop, PHONE]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.setViewportSize(size);
      // By CDP, so that the page's policy against foreign scripts stays in force.
      await page.evaluate(axeSource);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
      assert.deepEqual(found, [], `${what}, ${colorScheme}, ${size.width} wide`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what} is ${wide} px wider than a screen of ${size.width}`);
    }
  }
  await page.setViewportSize(desktop);
}

test("each page by itself: reachable, clean for axe-core, without a complaint", async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  for (const path of ["/", "/publish/quiet?source=clock", "/publish/quiet", "/watch/quiet", "/embed/quiet", "/api", "/nowhere"]) {
    const page = await open(context, base + path);
    await page.waitForTimeout(800);
    await accessible(page, path);
    assert.deepEqual(page.complaints, [], path);
    await page.close();
  }
});

test("the watch page is light", async (t) => {
  const { base } = await serve(t);
  const page = await open(await browser(t), `${base}/watch/light`);
  await untilShow(page, "waiting");
  const bytes = await page.evaluate(() =>
    [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .reduce((sum, entry) => sum + entry.encodedBodySize, 0));
  t.diagnostic(`the watch page weighs ${Math.round(bytes / 1000)} kB`);
  assert.ok(bytes < 250_000, `${bytes} bytes are too many`);
});

test("from the first page onto the stage by keyboard alone", async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  const page = await open(context, base);
  await page.getByLabel("Room name").focus();
  await page.keyboard.type("by keys");
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).pathname, "/", "a name with a space is not sent");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("by-keys");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/publish/by-keys");
  const goLive = page.getByRole("button", { name: "Go live" });
  await until(() => goLive.isEnabled());
  await page.keyboard.press("Tab");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /Skip/, "the first stop is the skip link");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 20_000 });
  await page.getByRole("button", { name: "Stop" }).press("Space");
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "idle");
});

test("not live, live, listed, ended, recorded", { timeout: 120_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  const watcher = await open(context, `${base}/watch/cycle`);
  await untilShow(watcher, "waiting");
  await watcher.getByText("cycle is not live yet").waitFor();

  const publisher = await publishClock(context, base, "cycle");
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  await accessible(watcher, "the playing watch page");
  await accessible(publisher, "the live publish page");
  await until(async () => /fps/.test(await publisher.locator("#sent-frames").textContent()));

  const home = await open(context, base);
  await home.getByRole("link", { name: "cycle" }).first().waitFor();
  await accessible(home, "the first page with a show");
  await home.getByRole("link", { name: "cycle" }).first().click();
  await home.waitForURL("**/watch/cycle");
  await home.close();

  // Sound, and the player by keyboard.
  await watcher.getByRole("button", { name: "Tap for sound" }).click();
  assert.equal(await watcher.evaluate(() => document.querySelector("hls-video").nativeEl.muted), false);
  await watcher.keyboard.press("k");
  await watcher.waitForFunction(() => document.querySelector("hls-video").nativeEl.paused);
  await watcher.waitForTimeout(3_500);
  await watcher.keyboard.press("k");
  await watcher.waitForFunction(() => !document.querySelector("hls-video").nativeEl.paused);
  // It was left behind: the live button brings it back.
  await watcher.waitForFunction(() => !document.querySelector("media-live-button").hasAttribute("mediatimeislive"));
  await watcher.locator("media-live-button").click();
  await watcher.waitForFunction(() => document.querySelector("media-live-button").hasAttribute("mediatimeislive"));
  await untilMoving(watcher);

  await publisher.getByRole("button", { name: "Stop" }).click();
  await untilShow(watcher, "ended", 30_000);
  const link = watcher.getByRole("link", { name: "Watch the recording" });
  await link.waitFor({ timeout: 60_000 });
  await accessible(watcher, "the ended watch page");
  await link.click();
  await watcher.waitForURL("**/vod/*");
  await watcher.locator("media-play-button").click();
  await untilMoving(watcher);
  await accessible(watcher, "the recording's page");
  assert.deepEqual([...watcher.complaints, ...publisher.complaints], []);
});

test("another broadcast in the same room plays on the same page", { timeout: 120_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  const publisher = await publishClock(context, base, "again");
  const watcher = await open(context, `${base}/watch/again`);
  await untilMoving(watcher);
  await publisher.getByRole("button", { name: "Stop" }).click();
  await untilShow(watcher, "ended", 30_000);
  await publisher.getByRole("button", { name: "Go live" }).click();
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
});

test("after the server's restart, publisher and viewer are back by themselves", { timeout: 150_000 }, async (t) => {
  const data = await folder(t, "data");
  const http = `127.0.0.1:${await freePort()}`;
  const rtc = `127.0.0.1:${await freePort()}`;
  const first = await serve(t, { data, http, rtc });
  const context = await browser(t);
  const publisher = await publishClock(context, first.base, "phoenix");
  const watcher = await open(context, `${first.base}/watch/phoenix`);
  await untilMoving(watcher);

  await first.kill();
  await publisher.getByText("Reconnecting…").waitFor({ timeout: 30_000 });
  await untilShow(watcher, "interrupted", 30_000);
  await watcher.getByText("Connection lost").waitFor();

  await serve(t, { data, http, rtc });
  await publisher.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 40_000 });
  await untilShow(watcher, "playing", 40_000);
  await untilMoving(watcher);
});

test("a killed pipeline is a hiccup: the player goes on by itself", { timeout: 120_000 }, async (t) => {
  const { base, pid } = await serve(t);
  const context = await browser(t);
  await publishClock(context, base, "hiccup");
  const watcher = await open(context, `${base}/watch/hiccup`);
  await untilMoving(watcher);
  await watcher.waitForTimeout(3_000);
  process.kill(await childOf(pid), "SIGKILL");
  const killed = Date.now();
  // Not before the picture of the new child is there.
  const playlist = await watcher.evaluate(() => document.querySelector("hls-video").api.levels.at(-1).uri);
  await until(async () => (await (await fetch(playlist)).text()).includes("#EXT-X-DISCONTINUITY\n"));
  await watcher.waitForTimeout(1_500);
  await untilMoving(watcher);
  t.diagnostic(`the picture moves again within ${((Date.now() - killed) / 1000).toFixed(1)} s`);
  const behind = await watcher.evaluate(() => {
    const { latestLevelDetails, media } = document.querySelector("hls-video").api;
    return latestLevelDetails.edge + latestLevelDetails.age - media.currentTime;
  });
  assert.ok(behind < 4, `it is live again, not ${behind} s behind`);
  assert.equal(await watcher.evaluate(() => document.documentElement.dataset.show), "playing");
});

test("who may not use the camera is told what to do", async (t) => {
  const { base } = await serve(t);
  const context = await browser(t, { permissions: [] });
  const page = await open(context, `${base}/publish/shy`);
  await page.getByText("Allow them at the icon in the address bar").waitFor();
  assert.equal(await page.getByRole("button", { name: "Go live" }).isDisabled(), true);
  await accessible(page, "the publish page without permission");
  await context.grantPermissions(["camera", "microphone"]);
  await page.getByRole("button", { name: "Try again" }).click();
  await until(() => page.getByRole("button", { name: "Go live" }).isEnabled());
});

test("an insecure page says why it has no camera", async (t) => {
  const { base } = await serve(t);
  const { port } = new URL(base);
  const context = await browser(t, { args: ["--host-resolver-rules=MAP stage.test 127.0.0.1"] });
  const page = await open(context, `http://stage.test:${port}/publish/insecure`);
  await page.getByText("only to secure pages").waitFor();
});

test("a server that refuses is quoted", async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  const page = await open(context, `${base}/publish/refused?source=clock`);
  await page.route("**/whip/**", (route) => route.fulfill({
    status: 403, contentType: "application/problem+json",
    body: JSON.stringify({ title: "Forbidden", status: 403, detail: "this token is for another room" }),
  }));
  await page.getByRole("button", { name: "Go live" }).click();
  await page.getByRole("alert").getByText("This token is for another room.").waitFor();
  await page.unroute("**/whip/**");
  await page.getByRole("button", { name: "Go live" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 20_000 });
});
