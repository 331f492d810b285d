// A producer looks at what comes next, and takes it: the audience sees nothing of it before.

import assert from "node:assert/strict";
import { test } from "node:test";
import { addClock } from "./clock.mjs";
import { COLOURS, publish, whose } from "./colours.mjs";
import { browser, childrenOf, open, serve, until, untilMoving, untilShow } from "./harness.mjs";
import { play, received } from "./whep.mjs";

const [ADA, BO] = [0, 1];

/** The colours a quarter and three quarters of the way across a page's player. */
function across(page) {
  return page.evaluate(() => {
    const video = document.querySelector("hls-video")?.nativeEl ?? document.querySelector("video.monitor, body > video");
    const context = Object.assign(document.createElement("canvas"), { width: 64, height: 36 }).getContext("2d");
    context.drawImage(video, 0, 0, 64, 36);
    return [16, 48].map((x) => [...context.getImageData(x, 18, 1, 1).data].slice(0, 3));
  });
}

const seenIn = async (page) => (await across(page)).map(whose);
const untilSeen = (page, expected) => until(async () => `${await seenIn(page)}` === `${expected}`);

test("a preview is seen by the producer alone, and taken live", { timeout: 120_000 }, async (t) => {
  const { base, pid } = await serve(t);
  const context = await browser(t, { bypassCSP: true });
  const room = `${base}/api/v1/rooms/show`;
  const ask = async (method, path, body) => {
    const response = await fetch(`${room}${path}`, { method, headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : null };
  };
  assert.equal((await ask("PUT", "/broadcast/preview", {})).status, 409, "nothing is live");

  const watcher = await open(context, `${base}/watch/show?measure`);
  const publisher = await open(context, `${base}/`);
  for (const [one, name] of ["Ada", "Bo"].entries()) await publisher.evaluate(publish, { base, name, colour: COLOURS[one] });
  await untilShow(watcher, "playing");
  await untilMoving(watcher);
  await untilSeen(watcher, [ADA, BO]);
  const { items } = (await ask("GET", "/participants")).body;
  const bo = items.find(({ name }) => name === "Bo").id;
  const stalls = await watcher.evaluate(() => globalThis.amphi.player.stalls.count);

  assert.equal((await ask("GET", "/broadcast/preview")).status, 404);
  assert.equal((await ask("POST", "/broadcast/preview/take")).status, 404);
  assert.equal((await ask("PUT", "/broadcast/preview", { layout: "none" })).status, 422);
  const previewed = await ask("PUT", "/broadcast/preview", { layout: "solo", pinned: bo });
  assert.deepEqual([previewed.status, previewed.body.layout, previewed.body.pinned], [200, "solo", bo]);
  const producer = await open(context, `${base}/`);
  await addClock(producer);
  await producer.evaluate(play, `${base}${previewed.body.whep}`);
  await producer.waitForFunction(() => window.program.firstFrame !== null, null, { timeout: 15_000 });
  await untilSeen(producer, [BO, BO]);
  assert.ok((await producer.evaluate(received)).height <= 360, "it is small");
  assert.deepEqual(await seenIn(watcher), [ADA, BO], "the audience sees nothing of it");
  assert.equal((await ask("GET", "")).body.layout, "grid");

  // Another thought, before it is taken.
  await ask("PUT", "/broadcast/preview", { slate: "Back soon" });
  await until(async () => !(await seenIn(producer)).includes(BO));
  await ask("PUT", "/broadcast/preview", { layout: "solo", on_stage: { [bo]: false } });
  await untilSeen(producer, [ADA, ADA]);
  const taken = await ask("POST", "/broadcast/preview/take");
  assert.deepEqual([taken.status, taken.body.layout], [200, "solo"]);
  await untilSeen(watcher, [ADA, ADA]);
  assert.deepEqual(await seenIn(producer), [ADA, ADA], "and the preview goes on");
  assert.deepEqual((await ask("GET", "/participants")).body.items.map(({ on_stage }) => on_stage), [true, false]);

  // What becomes of the preview's child is nothing to the audience.
  const children = await childrenOf(pid);
  assert.equal(children.length, 2);
  process.kill(Math.max(...children), "SIGKILL");
  await producer.waitForTimeout(2_000);
  const before = await producer.evaluate(received);
  await producer.waitForTimeout(1_000);
  const after = await producer.evaluate(received);
  assert.ok(after.frames > before.frames, "another one goes on");
  assert.equal((await ask("DELETE", "/broadcast/preview")).status, 204);
  await until(async () => (await childrenOf(pid)).length === 1);
  await untilMoving(watcher);
  const stalled = (await watcher.evaluate(() => globalThis.amphi.player.stalls.count)) - stalls;
  t.diagnostic(`the audience stalled ${stalled} times meanwhile`);
  assert.deepEqual(watcher.complaints, []);
});

test("a host looks at a layout on the page, and takes it live", { timeout: 120_000 }, async (t) => {
  const { base, pid } = await serve(t);
  const context = await browser(t, { bypassCSP: true });
  const publisher = await open(context, `${base}/`);
  for (const [one, name] of ["Ada", "Bo"].entries()) await publisher.evaluate(publish, { base, name, colour: COLOURS[one] });
  const host = await open(context, `${base}/publish/show`);
  const layout = async () => (await (await fetch(`${base}/api/v1/rooms/show`)).json()).layout;
  await host.getByRole("button", { name: "Look first" }).click();
  await untilSeen(host, [ADA, BO]);
  await host.getByLabel("Layout").selectOption("solo");
  await untilSeen(host, [ADA, ADA]);
  if (process.env.AMPHI_SCREENSHOTS) await host.screenshot({ path: `${process.env.AMPHI_SCREENSHOTS}/preview.png`, fullPage: true });
  assert.equal(await layout(), "grid");
  await host.getByRole("button", { name: "Take live" }).click();
  await until(async () => (await layout()) === "solo");
  await host.getByRole("button", { name: "Close preview" }).click();
  await until(async () => (await childrenOf(pid)).length === 1);
  assert.ok(await host.locator(".monitor").isHidden());
  assert.deepEqual(host.complaints, []);
});
