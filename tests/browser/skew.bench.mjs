// Whether lips and voice stay together at the viewer: a page's clock and beep, published through a
// lossy network, in a program whose layout changes, read from what the audience got.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/skew.bench.mjs

import { execFileSync, spawn } from "node:child_process";
import { barcode } from "./clock.mjs";
import { browser, freePort, open, percentile, serve, until } from "./harness.mjs";
import { shaper, throughShaper } from "./shaper.mjs";

const SECONDS = Number(process.env.AMPHI_SKEW_SECONDS ?? 60);
const BAD_NETWORK = { loss: 0.05, jitterMs: 30 };
/** Sound and picture are tied by reports, which come a moment after the start. */
const SETTLE_S = 5;
const LAYOUTS = ["picture-in-picture", "solo"];
const LAYOUT_EVERY_MS = 10_000;

const RATE = 48_000;
const LOUD = 800;
const QUIET_SAMPLES = RATE * 0.3;
const { COLUMNS, decode } = await barcode();

function ffmpeg(url, ...args) {
  return execFileSync("ffmpeg", ["-v", "error", "-i", url, ...args, "-"], { maxBuffer: 2 ** 30 });
}

function packetTimes(url, stream) {
  const args = ["-v", "error", "-select_streams", stream, "-show_entries", "packet=pts_time", "-of", "csv=p=0", url];
  const text = execFileSync("ffprobe", args, { maxBuffer: 2 ** 28, encoding: "utf8" });
  return text.split("\n").map((line) => Number.parseFloat(line)).filter(Number.isFinite).sort((a, b) => a - b);
}

/** When each beep begins, in seconds. */
function beeps(url) {
  const bytes = ffmpeg(url, "-map", "0:a:0", "-ac", "1", "-ar", String(RATE), "-f", "s16le");
  const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
  const begins = packetTimes(url, "a:0")[0];
  const found = [];
  let last = -RATE;
  samples.forEach((sample, at) => {
    if (Math.abs(sample) <= LOUD) return;
    if (at - last > QUIET_SAMPLES) found.push(begins + at / RATE);
    last = at;
  });
  return found;
}

/** When each readable picture is shown, and the time of day in it, in seconds. */
function pictures(url) {
  const filter = `crop=iw:ih*0.02:0:ih*0.04,scale=${COLUMNS}:1:flags=area,format=gray`;
  const rows = ffmpeg(url, "-map", "0:v:0", "-vf", filter, "-fps_mode", "passthrough", "-f", "rawvideo");
  return packetTimes(url, "v:0").flatMap((at, nth) => {
    const time = decode(rows.subarray(nth * COLUMNS, (nth + 1) * COLUMNS));
    return time === null ? [] : [[at, time / 1000]];
  });
}

const median = (values) => percentile([...values].sort((a, b) => a - b), 0.5);

const endings = [];
const t = { after: (ending) => endings.unshift(ending) };
try {
  const port = await freePort();
  const { base } = await serve(t, { rtc: `127.0.0.1:${port}`, env: { AMPHI_RTC_TURN: "false" } });
  const path = await shaper(t, port);
  const context = await browser(t);
  const page = await open(context, "about:blank");
  await page.addInitScript(throughShaper, { server: port, shaper: path.port });
  await page.goto(`${base}/publish/skew?source=clock&name=Ada&identity=Ada&codec=h264`);
  await page.getByRole("button", { name: "Go live" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 20_000 });
  const second = spawn(process.env.AMPHI_BIN, ["publish", "test", "--whip", `${base}/whip/skew?name=Bo`, "--size", "320x180", "--bitrate", "300", "--rehearse", "mute@0s"], { stdio: "ignore" });
  t.after(() => second.kill("SIGTERM"));
  const api = `${base}/api/v1/rooms/skew`;
  const ada = await until(async () => {
    const { items } = await (await fetch(`${api}/participants`)).json();
    return items.length === 2 && items.find((one) => one.name === "Ada").id;
  });
  const direct = (body) => fetch(`${api}/broadcast`, { method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  await direct({ layout: "picture-in-picture", pinned: ada });
  path.shape(BAD_NETWORK, BAD_NETWORK);
  const began = Date.now();
  for (let nth = 0; Date.now() - began < SECONDS * 1000; nth++) {
    await page.waitForTimeout(Math.min(LAYOUT_EVERY_MS, SECONDS * 1000 - (Date.now() - began)));
    await direct({ layout: LAYOUTS[(nth + 1) % LAYOUTS.length] });
  }
  const received = await until(async () => {
    const detail = await (await fetch(`${api}/participants/${ada}`)).json();
    return detail.connections.find((one) => one.purpose === "publish").received;
  });
  await fetch(`${api}/broadcast`, { method: "DELETE" });
  const recording = await until(async () => {
    const { items } = await (await fetch(`${base}/api/v1/recordings`)).json();
    return items.find((one) => one.state === "complete")?.id;
  });
  const url = `${base}/vod/${recording}/index.m3u8`;
  const seen = pictures(url);
  const skews = [];
  let frozen = 0;
  const firstPicture = seen[0][0];
  for (const beep of beeps(url).filter((at) => at > firstPicture + SETTLE_S)) {
    const around = seen.filter(([at]) => Math.abs(at - beep) < 0.5);
    if (around.length < 6) continue;
    // A picture that stands still says nothing of the sound.
    if (around.at(-1)[1] - around[0][1] < 0.25) {
      frozen += 1;
      continue;
    }
    const near = around.map(([at, time]) => time - at);
    const time = beep + median(near);
    skews.push((time - Math.round(time)) * 1000);
  }
  const sorted = skews.map(Math.abs).sort((a, b) => a - b);
  const minutes = Array.from({ length: Math.ceil(skews.length / 60) }, (_, minute) => median(skews.slice(minute * 60, minute * 60 + 60)).toFixed(0));
  const lost = received.map((track) => `${track.codec} ${track.lost} lost, ${track.recovered} recovered of ${track.packets}`);
  console.log(`${SECONDS} s through ${BAD_NETWORK.loss * 100} % loss and ${BAD_NETWORK.jitterMs} ms jitter, a layout change each ${LAYOUT_EVERY_MS / 1000} s: ${lost.join("; ")}`);
  console.log(`sound later than its picture: median ${median(skews).toFixed(0)} ms; absolute p50 ${percentile(sorted, 0.5).toFixed(0)}, p95 ${percentile(sorted, 0.95).toFixed(0)}, worst ${sorted.at(-1).toFixed(0)} ms of ${skews.length} beeps (budget: 40 ms); ${frozen} at a frozen picture`);
  if (process.env.AMPHI_TEST_LOG) console.log(`each beep: ${skews.map((skew) => skew.toFixed(0)).join(" ")}`);
  console.log(`median of each minute: ${minutes.join(", ")} ms`);
} finally {
  for (const ending of endings) await ending();
}
