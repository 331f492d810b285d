// Makes the README's pictures: the watch page with the test clock on air, and a stage of four.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/screenshot.mjs player

import { mkdir } from "node:fs/promises";
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
} finally {
  for (const ending of endings) await ending();
}
