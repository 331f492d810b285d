// Who is muted or removed by a producer: the others get nothing of it, and they themselves are told.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, keepConnections, serve, speak, until } from "./harness.mjs";

/** A slow camera is camera enough. */
const CAMERA = ["--use-fake-device-for-media-stream=fps=10"];

/** Packets of sound that a page has received. */
function heard(page) {
  return page.evaluate(async () => {
    let packets = 0;
    for (const connection of window.connections) {
      (await connection.getStats()).forEach((stat) => {
        if (stat.type === "inbound-rtp" && stat.kind === "audio") packets += stat.packetsReceived;
      });
    }
    return packets;
  });
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("a producer mutes a speaker, and takes them out of the room", { timeout: 120_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t, { args: CAMERA });
  await context.addInitScript(keepConnections);
  const ann = await speak(context, base, "demo", "ann");
  const bob = await speak(context, base, "demo", "bob");
  await until(async () => (await heard(ann)) > 50);
  const api = `${base}/api/v1/rooms/demo/participants`;
  const { items } = await (await fetch(api)).json();
  const place = `${api}/${items.find((one) => one.name === "bob").id}`;
  const mute = (muted) => fetch(place, {
    method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ muted }),
  });

  assert.equal((await mute(["microphone"])).status, 200);
  await bob.getByText("A producer muted your microphone: nobody gets it now.").waitFor({ timeout: 10_000 });
  await ann.getByText("bob · muted").waitFor({ timeout: 10_000 });
  await wait(500);
  const silent = await heard(ann);
  await wait(1_500);
  assert.equal(await heard(ann), silent, "who is muted is heard");
  assert.equal((await mute([])).status, 200);
  await until(async () => (await heard(ann)) > silent + 20);

  assert.equal((await fetch(place, { method: "DELETE" })).status, 204);
  await bob.getByText("You were taken out of the room").waitFor({ timeout: 10_000 });
  await until(async () => (await bob.locator("html").getAttribute("data-publishing")) === "idle");
  if (process.env.AMPHI_SCREENSHOT) await bob.screenshot({ path: process.env.AMPHI_SCREENSHOT });
  await until(async () => (await (await fetch(api)).json()).items.length === 1);
  await wait(3_000);
  assert.equal((await (await fetch(api)).json()).items.length, 1, "they do not come back by themselves");
});
