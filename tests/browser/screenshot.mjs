// Makes the README's picture: the watch page with the test clock on air.
// Usage: AMPHI_BIN=target/release/amphi node tests/browser/screenshot.mjs player/watch.png

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { browser, open, publishClock, serve, untilMoving } from "./harness.mjs";

const [path = "watch.png"] = process.argv.slice(2);
const endings = [];
const t = { after: (ending) => endings.unshift(ending) };

try {
  const { base } = await serve(t);
  const context = await browser(t, { viewport: { width: 1280, height: 860 }, deviceScaleFactor: 1 });
  await publishClock(context, base, "demo");
  const page = await open(context, `${base}/watch/demo`);
  await page.emulateMedia({ colorScheme: "dark" });
  await untilMoving(page);
  await page.getByRole("button", { name: "Tap for sound" }).click();
  await page.waitForTimeout(8_000);
  await page.mouse.move(600, 500);
  await page.waitForTimeout(400);
  await mkdir(dirname(path), { recursive: true });
  await page.screenshot({ path });
  console.log(`made ${path}`);
} finally {
  for (const ending of endings) await ending();
}
