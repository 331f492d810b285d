// Every way to reach the server: relays, TCP where UDP is blocked, IPv6. Two speakers each time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, chosenPaths, keepConnections, serve, speak, until } from "./harness.mjs";

const CAMERA = ["--use-fake-device-for-media-stream=fps=10"];

async function untilSeesAnother(page) {
  await until(() => page.evaluate(() => [...document.querySelectorAll("#stage .tile video")]
    .some((video) => video.getVideoPlaybackQuality().totalVideoFrames > 5)), { timeout: 30_000 });
}

/** Two pages that may connect only so, and the paths that their connections took. */
async function meet(t, { server = {}, preferences, settings = {} }) {
  const { base } = await serve(t, server);
  const context = await browser(t, { args: CAMERA, preferences });
  await context.addInitScript(keepConnections, settings);
  const pages = [await speak(context, base, "demo", "ann"), await speak(context, base, "demo", "bob")];
  for (const page of pages) await untilSeesAnother(page);
  const paths = (await Promise.all(pages.map(chosenPaths))).flat();
  assert.equal(paths.length, 4, "each has a connection to send and one to receive");
  for (const page of pages) assert.deepEqual(page.complaints, []);
  return paths;
}

const RELAY_ONLY = { iceTransportPolicy: "relay" };
/** A browser that may not use UDP, as companies set it. */
const NO_UDP = { webrtc: { ip_handling_policy: "disable_non_proxied_udp" } };

test("through the server's TURN over UDP", { timeout: 120_000 }, async (t) => {
  const paths = await meet(t, { server: { env: { AMPHI_RTC_TCP: "false" } }, settings: RELAY_ONLY });
  for (const path of paths) assert.deepEqual([path.kind, path.relay], ["relay", "udp"]);
});

test("through the server's TURN over TCP", { timeout: 120_000 }, async (t) => {
  const paths = await meet(t, { settings: RELAY_ONLY, preferences: NO_UDP });
  for (const path of paths) assert.deepEqual([path.kind, path.relay], ["relay", "tcp"]);
});

test("by TCP where UDP is blocked", { timeout: 120_000 }, async (t) => {
  const paths = await meet(t, { server: { env: { AMPHI_RTC_TURN: "false" } }, preferences: NO_UDP });
  for (const path of paths) assert.equal(path.protocol, "tcp");
});

test("by IPv6", { timeout: 120_000 }, async (t) => {
  const paths = await meet(t, { server: { rtc: "[::1]:0" } });
  for (const path of paths) assert.equal(path.address, "::1");
});
