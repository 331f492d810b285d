// Makes the README's pictures: the watch page with the test clock on air, a stage of four, and
// what the audience sees of such a stage in four layouts.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/screenshot.mjs player

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { browser, open, publishClock, serve, speak, untilMoving } from "./harness.mjs";

const [folder = "."] = process.argv.slice(2);
const endings = [];
const t = { after: (ending) => endings.unshift(ending) };

async function watch(context, base) {
  await publishClock(context, base, "demo");
  const page = await open(context, `${base}/watch/demo`);
  await page.emulateMedia({ colorScheme: "dark" });
  await untilMoving(page);
  await page.getByRole("button", { name: "Tap for sound" }).click();
  await page.waitForTimeout(8_000);
  await page.mouse.move(600, 500);
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(folder, "watch.png") });
}

async function stage(context, base) {
  let page;
  for (const name of ["Ann", "Bob", "Cleo", "Dan"]) {
    page = await speak(context, base, "stage", name);
    await page.emulateMedia({ colorScheme: "dark" });
  }
  await page.getByLabel("Message to the other speakers").fill("Good evening, everybody!");
  await page.getByRole("button", { name: "Send" }).click();
  await page.waitForTimeout(6_000);
  await page.screenshot({ path: join(folder, "stage.png"), fullPage: true });
}

/** Someone with a microphone alone. */
async function speakUnseen(page, base, name) {
  await page.evaluate(async ({ base, name }) => {
    const sound = new AudioContext();
    const tone = new OscillatorNode(sound, { frequency: 300 });
    const out = sound.createMediaStreamDestination();
    tone.connect(out);
    tone.start();
    const pc = (window.unseen = new RTCPeerConnection());
    pc.addTransceiver(out.stream.getAudioTracks()[0], { direction: "sendonly" });
    await pc.setLocalDescription();
    const answer = await fetch(`${base}/whip/layouts?name=${name}`, {
      method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" },
    });
    await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }, { base, name });
}

async function layouts(context, base) {
  const direct = (change) => fetch(`${base}/api/v1/rooms/layouts/broadcast`, {
    method: "PATCH", body: JSON.stringify(change), headers: { "content-type": "application/json" },
  });
  const ann = await speak(context, base, "layouts", "Ann Lee");
  await speak(context, base, "layouts", "Bob Kraus");
  await speakUnseen(await open(context, `${base}/`), base, "Cleo Diaz");
  // A headless browser has no screen: a slide stands for it.
  await ann.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
    const context = canvas.getContext("2d");
    setInterval(() => {
      context.fillStyle = "#f4f1ea";
      context.fillRect(0, 0, 1280, 720);
      context.fillStyle = "#1d2a35";
      context.font = "600 84px sans-serif";
      context.fillText("On both sides", 90, 200);
      context.font = "44px sans-serif";
      ["The few speak in real time.", "The many watch a moment later.", "One server carries both."].forEach(
        (line, at) => context.fillText(line, 90, 330 + 90 * at));
    }, 200);
    navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(10);
  });
  const page = await open(context, `${base}/watch/layouts`);
  await untilMoving(page);
  const pictures = [];
  for (const layout of ["spotlight", "grid", "presentation", "picture-in-picture"]) {
    if (layout === "presentation") await ann.getByRole("button", { name: "Share screen" }).click();
    if (layout === "picture-in-picture") await ann.getByRole("button", { name: "Stop sharing" }).click();
    await direct({ layout });
    await page.waitForTimeout(6_000);
    await page.evaluate((nth) => {
      const video = document.querySelector("hls-video").nativeEl;
      window.sheet ??= Object.assign(document.createElement("canvas"), { width: 1284, height: 724 });
      window.sheet.getContext("2d").drawImage(video, 644 * (nth % 2), 364 * Math.floor(nth / 2), 640, 360);
    }, pictures.push(layout) - 1);
  }
  const url = await page.evaluate(() => window.sheet.toDataURL("image/png"));
  await writeFile(join(folder, "layouts.png"), Buffer.from(url.split(",")[1], "base64"));
}

try {
  await mkdir(folder, { recursive: true });
  const { base } = await serve(t);
  const context = await browser(t, {
    viewport: { width: 1280, height: 860 },
    deviceScaleFactor: 1,
    args: ["--use-fake-device-for-media-stream=fps=10"],
  });
  await watch(context, base);
  await context.pages().at(-2)?.close();
  await stage(context, base);
  // The first stays, for a browser ends with its last.
  for (const page of context.pages().slice(1)) await page.close();
  await layouts(context, base);
} finally {
  for (const ending of endings) await ending();
}
