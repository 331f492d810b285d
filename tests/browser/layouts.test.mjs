// The audience's picture: who stands where in each layout, with one to nine on stage.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COLOURS, publish, whose } from "./colours.mjs";
import { browser, open, serve, until, untilMoving } from "./harness.mjs";

/** Of all points looked at; fewer are where two pictures meet, or letters. */
const LEAST_SEEN = 4;

/** Beside the colour, each has a code of bars: a number and its opposite, in the picture's middle half. */
const BITS = 4;
const CODE = { left: 0.25, top: 0.22, width: 0.5, height: 0.2 };

function barsOf(one) {
  const bits = Array.from({ length: BITS }, (_, bit) => ((one + 1) >> bit) & 1);
  return [...bits, ...bits.map((bit) => 1 - bit)];
}

/** Colours of the picture at these points, as shares of its width and height. */
function look(page, points) {
  return page.evaluate((points) => {
    const video = document.querySelector("hls-video").nativeEl;
    const [width, height] = [320, 180];
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, width, height);
    return points.map(([x, y]) => [...context.getImageData(x * width, y * height, 1, 1).data].slice(0, 3));
  }, points);
}

/** Where the bars of a picture are that fills a tile: of its sides, 70 % stay at least. */
function barsIn([x, y, width, height]) {
  const whole = 16 / 9;
  const wanted = (width * 16) / (height * 9);
  const aspect = Math.min(Math.max(wanted, whole * 0.7), whole / 0.7);
  const [shownWidth, shownHeight] = [Math.min(aspect / whole, 1), Math.min(whole / aspect, 1)];
  const [drawnWidth, drawnHeight] = [width * Math.min(aspect / wanted, 1), height * Math.min(wanted / aspect, 1)];
  const at = (across, down) => [
    x + width / 2 + ((across - 0.5) / shownWidth) * drawnWidth,
    y + height / 2 + ((down - 0.5) / shownHeight) * drawnHeight,
  ];
  return Array.from({ length: 2 * BITS }, (_, bar) =>
    at(CODE.left + (CODE.width * (bar + 0.5)) / (2 * BITS), CODE.top + CODE.height / 2));
}

/** Whose code this is; -1: nobody's. */
function coded(seen) {
  const bars = seen.map((colour) => Number(colour[0] + colour[1] + colour[2] > 384)).join("");
  return COLOURS.findIndex((_, one) => barsOf(one).join("") === bars);
}

const FULL = [0, 0, 1, 1];

function grid(who, [left, top, width, height] = FULL, columns = Math.ceil(Math.sqrt(who.length))) {
  const rows = Math.ceil(who.length / columns);
  return who.map((one, nth) => {
    const row = Math.floor(nth / columns);
    const inRow = row === rows - 1 ? who.length - row * columns : columns;
    const x = left + (width / columns) * ((columns - inRow) / 2 + (nth % columns));
    return [one, [x, top + (height / rows) * row, width / columns, height / rows]];
  });
}

/** Who should stand where, the last of `count` being pinned. */
function expected(layout, count) {
  const all = Array.from({ length: count }, (_, at) => at);
  const [pinned, others] = [count - 1, all.slice(0, -1)];
  const spotlight = [[pinned, [0, 0, 0.78, 1]], ...grid(others.slice(0, 5), [0.78, 0, 0.22, 1], 1)];
  switch (layout) {
    case "grid": return grid(all);
    case "side-by-side": return grid(all.slice(0, 2), FULL, Math.min(count, 2));
    case "solo": return [[pinned, FULL]];
    case "picture-in-picture": return [[pinned, FULL], ...others.slice(0, 1).map((one) => [one, [0.73, 0.7, 0.25, 0.27]])];
    default: return count === 1 ? [[0, FULL]] : spotlight;
  }
}

const EVERYWHERE = Array.from({ length: 32 * 18 }, (_, at) => [((at % 32) + 0.5) / 32, (Math.floor(at / 32) + 0.5) / 18]);

async function call(base, method, path, body) {
  const answer = await fetch(`${base}/api/v1/rooms/show${path}`, {
    method, body: JSON.stringify(body), headers: { "content-type": "application/json" },
  });
  return { status: answer.status, body: await answer.json() };
}

test("each layout shows who it should, where it should, with one to nine on stage", { timeout: 300_000 }, async (t) => {
  const { base } = await serve(t);
  const context = await browser(t);
  const stage = await open(context, `${base}/`);
  const { items: layouts } = await (await fetch(`${base}/api/v1/layouts`)).json();
  let watcher;
  let joined = 0;
  for (const count of [1, 2, 4, 9]) {
    for (; joined < count; joined++) {
      await stage.evaluate(publish, { base, name: `Guest${joined}`, colour: COLOURS[joined], bars: barsOf(joined), code: CODE });
    }
    const people = await until(async () => {
      const { items } = (await call(base, "GET", "/participants")).body;
      return items.filter((one) => one.tracks.length).length === count && items;
    });
    if (!watcher) {
      watcher = await open(context, `${base}/watch/show`);
      await untilMoving(watcher);
    }
    const pinned = people.find((one) => one.name === `Guest${count - 1}`).id;
    assert.equal((await call(base, "PATCH", "/broadcast", { pinned })).status, 200);
    for (const layout of layouts) {
      const { status, body } = await call(base, "PATCH", "/broadcast", { layout });
      assert.deepEqual([status, body.layout, body.pinned], [200, layout, pinned]);
      const places = expected(layout, count);
      let saw;
      const isRight = async () => {
        const centres = places.map(([, [x, y, width, height]]) => [x + width / 2, y + height / 2]);
        const there = (await look(watcher, centres)).map(whose);
        const codes = await Promise.all(places.map(async ([, place]) => coded(await look(watcher, barsIn(place)))));
        // In the middle of a large picture another one may stand.
        const seen = (await look(watcher, EVERYWHERE)).map(whose);
        const strangers = COLOURS.filter((_, one) =>
          !places.some(([shown]) => shown === one) && seen.filter((other) => other === one).length >= LEAST_SEEN);
        saw = { colours: there, codes, strangers };
        return places.every(([one], at) => there[at] === one && codes[at] === one) && strangers.length === 0;
      };
      await until(isRight, { timeout: 20_000 }).catch(() => {
        assert.fail(`${layout} with ${count}: wanted ${JSON.stringify(places)}, saw ${JSON.stringify(saw)}`);
      });
    }
    t.diagnostic(`${count} on stage: ${layouts.length} layouts`);
  }

  // Out of the program, and in again at the first place of the grid.
  await call(base, "PATCH", "/broadcast", { layout: "grid", pinned: null });
  const { items } = (await call(base, "GET", "/participants")).body;
  for (const one of items.slice(2)) {
    assert.equal((await call(base, "PATCH", `/participants/${one.id}`, { on_stage: false })).body.on_stage, false);
  }
  const centres = grid([0, 1]).map(([, [x, y, width, height]]) => [x + width / 2, y + height / 2]);
  const stand = async (...who) => until(async () => (await look(watcher, centres)).map(whose).join() === who.join());
  await stand(0, 1);
  await call(base, "PATCH", `/participants/${items[1].id}`, { place: 0 });
  await stand(1, 0);
  assert.equal((await call(base, "PATCH", "/broadcast", { slate: "Back soon" })).body.slate, "Back soon");
  await stand(-1, -1);
  assert.equal((await call(base, "PATCH", "/broadcast", { slate: null })).body.slate, null);
  await stand(1, 0);

  // The program ends with its last frame, cards or not.
  const { broadcast } = (await call(base, "GET", "")).body;
  const length = (Date.now() - Date.parse(broadcast.started_at)) / 1000;
  await fetch(`${base}/api/v1/rooms/show/broadcast`, { method: "DELETE" });
  const recording = await until(async () => {
    const found = await (await fetch(`${base}/api/v1/recordings/${broadcast.id}`)).json();
    return found.state === "complete" && found;
  });
  assert.ok(Math.abs(recording.duration_s - length) < 4, `${recording.duration_s} s of ${length} s`);

  const nowhere = await fetch(`${base}/api/v1/rooms/nowhere/broadcast`, {
    method: "PATCH", body: "{}", headers: { "content-type": "application/json" },
  });
  assert.equal(nowhere.status, 404);
  assert.match((await nowhere.json()).detail, /there is no room nowhere/);
  const unknown = await call(base, "PATCH", "/broadcast", { layout: "none" });
  assert.equal(unknown.status, 422);
  assert.match(unknown.body.detail, /there is no layout `none`: there are grid, spotlight/);
});
