// What a listener with a bad network hears and sees of three speakers: concealed sound and frozen
// pictures by getStats, and the layers that the server chose for it.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/shaped.bench.mjs

import { browser, freePort, keepConnections, serve, speak, until } from "./harness.mjs";
import { shaper, throughShaper } from "./shaper.mjs";

const SECONDS = Number(process.env.AMPHI_SHAPED_SECONDS ?? 20);
const SETTLE_MS = 8_000;
const CAMERA = ["--use-fake-device-for-media-stream=fps=8"];

const LOSSY = { loss: 0.05, jitterMs: 30 };
const NARROW = { bps: 300_000 };
const PATHS = [
  ["clean", {}],
  ["5 % loss, 30 ms jitter", LOSSY],
  ["300 kbit/s", NARROW],
  ["both", { ...LOSSY, ...NARROW }],
  ["clean again", {}],
];

/** Of all that a page receives. */
function received(page) {
  return page.evaluate(async () => {
    const found = [];
    for (const connection of window.connections) {
      (await connection.getStats()).forEach((stat) => {
        if (stat.type === "inbound-rtp") found.push({ ...stat });
      });
    }
    return found;
  });
}

function difference(before, after, key) {
  const then = new Map(before.map((stat) => [stat.id + stat.ssrc, stat[key] ?? 0]));
  return after.map((stat) => (stat[key] ?? 0) - (then.get(stat.id + stat.ssrc) ?? 0));
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
const endings = [];
const t = { after: (ending) => endings.unshift(ending) };
try {
  const port = await freePort();
  const { base } = await serve(t, { rtc: `127.0.0.1:${port}`, env: { AMPHI_RTC_TURN: "false" } });
  const path = await shaper(t, port);
  const speakers = await browser(t, { args: CAMERA });
  await speakers.addInitScript(keepConnections);
  // A dense screen: small tiles that are worth a middle layer.
  const listening = await browser(t, { args: CAMERA, deviceScaleFactor: 2.5 });
  await listening.addInitScript(throughShaper, { server: port, shaper: path.port });
  for (const name of ["ann", "bob", "cleo"]) await speak(speakers, base, "shaped", name);
  const listener = await speak(listening, base, "shaped", "dan");
  await until(async () => (await received(listener)).filter((stat) => (stat.framesDecoded ?? 0) > 30).length === 3, { timeout: 60_000 });

  console.log("path                    | sound concealed | worst speaker | frozen | frames/s | heights        | estimate");
  for (const [name, shape] of PATHS) {
    path.shape(shape.loss ? LOSSY : {}, shape);
    await listener.waitForTimeout(SETTLE_MS);
    const before = await received(listener);
    await listener.waitForTimeout(SECONDS * 1000);
    const after = await received(listener);
    const of = (kind) => [before, after].map((stats) => stats.filter((stat) => stat.kind === kind));
    const [soundBefore, sound] = of("audio");
    const [picturesBefore, pictures] = of("video");
    // All of it: a long gap fades into silence, and nobody here is muted.
    const concealed = difference(soundBefore, sound, "concealedSamples");
    const samples = difference(soundBefore, sound, "totalSamplesReceived");
    const shares = samples.map((all, at) => (all ? concealed[at] / all : 0));
    const frozen = sum(difference(picturesBefore, pictures, "totalFreezesDuration")) / (SECONDS * pictures.length);
    const frames = difference(picturesBefore, pictures, "framesDecoded").map((count) => (count / SECONDS).toFixed(0));
    const heights = pictures.map((stat) => stat.frameHeight ?? 0);
    const people = await (await fetch(`${base}/api/v1/rooms/shaped/participants`)).json();
    const dan = people.items.find((one) => one.name === "dan");
    const detail = await (await fetch(`${base}/api/v1/rooms/shaped/participants/${dan.id}`)).json();
    const subscribe = detail.connections.find((one) => one.purpose === "subscribe");
    const paused = subscribe.sent.filter((track) => track.paused).length;
    const percent = (share) => `${(share * 100).toFixed(2)} %`;
    console.log(
      [
        name.padEnd(23), percent(sum(shares) / shares.length).padStart(15), percent(Math.max(...shares)).padStart(13),
        percent(frozen).padStart(6), frames.join(" ").padEnd(8), heights.join(" ").padEnd(14),
        `${(subscribe.estimate_bps / 1000).toFixed(0)} kbit/s${paused ? `, ${paused} paused` : ""}`,
      ].join(" | "),
    );
  }
} finally {
  for (const ending of endings) await ending();
}
