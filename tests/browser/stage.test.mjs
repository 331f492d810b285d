// The stage: speakers in real browsers see and hear each other.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, keepConnections, networkOf, profiles, serve, speak, until } from "./harness.mjs";

/** Four encoders and a program share one machine: a slow camera is camera enough. */
const CAMERA = ["--use-fake-device-for-media-stream=fps=10", "--auto-select-tab-capture-source-by-title=Shared"];

/** The energy of each sound that a page has received. */
function energies(page) {
  return page.evaluate(async () => {
    const found = [];
    for (const connection of window.connections) {
      (await connection.getStats()).forEach((stat) => {
        if (stat.type === "inbound-rtp" && stat.kind === "audio") found.push(stat.totalAudioEnergy ?? 0);
      });
    }
    return found;
  });
}

/** Messages that went beside the media. */
function messages(page, which) {
  return page.evaluate(async (which) => {
    let count = 0;
    for (const connection of window.connections) {
      (await connection.getStats()).forEach((stat) => {
        if (stat.type === "data-channel") count += stat[which];
      });
    }
    return count;
  }, which);
}

/** What a page gets of the others: the tiles with their decoded frames. */
function received(page) {
  return page.evaluate(async () => {
    const tiles = [...document.querySelectorAll("#stage .tile")];
    return Promise.all(tiles.map(async (tile) => {
      const video = tile.querySelector("video");
      return {
        name: tile.querySelector("figcaption").textContent,
        kind: tile.dataset.kind,
        frames: video.hidden ? 0 : video.getVideoPlaybackQuality().totalVideoFrames,
        height: video.videoHeight,
        note: tile.querySelector(".note").textContent,
        sound: [...tile.querySelectorAll("audio")].some((audio) => audio.srcObject?.active && !audio.paused),
      };
    }));
  });
}

/** Waits until a page has moving pictures of these, and of nobody else. */
async function untilSees(page, names, timeout = 40_000) {
  let seen = [];
  await until(async () => {
    const before = await received(page);
    await new Promise((resolve) => setTimeout(resolve, 700));
    seen = await received(page);
    const moving = seen.filter((tile) => {
      const then = before.find((other) => other.name === tile.name);
      return then && tile.frames > then.frames && tile.sound | tile.kind === "screen";
    });
    return moving.length === seen.length && seen.map((tile) => tile.name).sort().join() === [...names].sort().join();
  }, { timeout }).catch((error) => {
    throw new Error(`${error.message}: wanted ${names}, saw ${JSON.stringify(seen)}`);
  });
  return seen;
}

test("four speakers see and hear each other, come, share, lose the network and go", { timeout: 240_000 }, async (t) => {
  const { base } = await serve(t);
  const contexts = [await browser(t, { args: CAMERA }), await browser(t, { args: CAMERA })];
  for (const context of contexts) await context.addInitScript(keepConnections);
  const pages = {};
  for (const [at, name] of ["ann", "bob", "cleo", "dan"].entries()) {
    pages[name] = await speak(contexts[at % 2], base, "demo", name);
  }
  const others = (name) => Object.keys(pages).filter((other) => other !== name);
  for (const name of Object.keys(pages)) await untilSees(pages[name], others(name));
  t.diagnostic("all see all");
  for (const page of Object.values(pages)) {
    await until(async () => (await energies(page)).filter((energy) => energy > 0).length === 3, { timeout: 10_000 });
  }
  t.diagnostic("all hear all");

  // Chat.
  await pages.ann.getByLabel("Message to the other speakers").fill("Good evening!");
  await pages.ann.getByRole("button", { name: "Send" }).click();
  await pages.dan.getByText("ann Good evening!").waitFor({ timeout: 5_000 });
  assert.deepEqual([await messages(pages.ann, "messagesSent"), await messages(pages.dan, "messagesReceived")], [1, 1]);
  // Where no channel is open, the socket is the way.
  await pages.bob.evaluate(() => Object.defineProperty(RTCDataChannel.prototype, "readyState", { value: "closed" }));
  await pages.bob.getByLabel("Message to the other speakers").fill("To you, too.");
  await pages.bob.getByRole("button", { name: "Send" }).click();
  await pages.dan.getByText("bob To you, too.").waitFor({ timeout: 5_000 });
  assert.equal(await messages(pages.bob, "messagesSent"), 0);

  // A host arranges what the audience sees.
  await pages.ann.getByLabel("Layout").selectOption("spotlight");
  await until(async () => (await (await fetch(`${base}/api/v1/rooms/demo`)).json()).layout === "spotlight");
  await until(async () => (await pages.bob.getByLabel("Layout").inputValue()) === "spotlight");

  // A camera is hidden: all are told so; and it comes back.
  const noteOf = async (page, name) => (await received(page)).find((tile) => tile.name === name)?.note;
  await pages.cleo.getByRole("button", { name: "Hide camera" }).click();
  await until(async () => (await noteOf(pages.ann, "cleo")) === "Camera off");
  await pages.cleo.getByRole("button", { name: "Hide camera" }).click();
  await untilSees(pages.ann, others("ann"));

  // A screen is shared, and all see it.
  await pages.cleo.evaluate(() => {
    // A headless browser has no screen: a canvas stands for it.
    const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
    const context = canvas.getContext("2d");
    setInterval(() => context.fillText(String(performance.now()), 100, 100), 200);
    navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(10);
  });
  await pages.cleo.getByRole("button", { name: "Share screen" }).click();
  await untilSees(pages.ann, ["bob", "cleo", "cleo: screen", "dan"]);
  await pages.cleo.getByRole("button", { name: "Stop sharing" }).click();
  await untilSees(pages.bob, ["ann", "cleo", "dan"]);
  t.diagnostic("a screen came and went");

  // Dan leaves: his tile goes at once; where a browser has no time for a goodbye, when he is given up.
  await pages.dan.close();
  const left = Date.now();
  await until(async () => (await received(pages.ann)).every((tile) => tile.name !== "dan"), { timeout: 45_000 }).catch(async (error) => {
    const told = await fetch(`${base}/api/v1/rooms/demo/participants`);
    throw new Error(`${error.message}: the server says ${await told.text()}`);
  });
  t.diagnostic(`a tile goes ${((Date.now() - left) / 1000).toFixed(1)} s after its speaker`);
  delete pages.dan;

  // Bob's browser loses its network for five seconds, and all comes back by itself.
  const network = await networkOf(profiles.get(contexts[1]));
  const before = (await received(pages.ann)).find((tile) => tile.name === "bob");
  process.kill(network, "SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const lost = (await received(pages.ann)).find((tile) => tile.name === "bob");
  process.kill(network, "SIGCONT");
  assert.ok(!lost || lost.frames - before.frames < 30, "the network was lost");
  const since = Date.now();
  await untilSees(pages.bob, ["ann", "cleo"]);
  await untilSees(pages.ann, ["bob", "cleo"]);
  t.diagnostic(`back ${((Date.now() - since) / 1000).toFixed(1)} s after the network was`);
  for (const page of Object.values(pages)) assert.deepEqual(page.complaints, []);
});
