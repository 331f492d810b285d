// Who publishes through a bad line: producers are told, and told again when it is over.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, freePort, keepConnections, serve, speak, until } from "./harness.mjs";
import { shaper, throughShaper } from "./shaper.mjs";

/** Events of one room, as they come. */
async function listen(t, base) {
  const told = [];
  const over = new AbortController();
  t.after(() => over.abort());
  const answer = await fetch(`${base}/api/v1/events?room=demo`, { signal: over.signal });
  void (async () => {
    let text = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop();
      told.push(...lines.filter((line) => line.startsWith("data:")).map((line) => JSON.parse(line.slice(5))));
    }
  })().catch(() => {});
  return told;
}

test("a producer is told of a bad line, and of its end", { timeout: 120_000 }, async (t) => {
  const port = await freePort();
  const { base } = await serve(t, { rtc: `127.0.0.1:${port}`, env: { AMPHI_RTC_TURN: "false", AMPHI_RTC_TCP: "false" } });
  const path = await shaper(t, port);
  const context = await browser(t, { args: ["--use-fake-device-for-media-stream=fps=10"] });
  await context.addInitScript(throughShaper, { server: port, shaper: path.port });
  await context.addInitScript(keepConnections);
  const told = await listen(t, base);
  await speak(context, base, "demo", "ann");
  const quality = () => told.filter((event) => event.type === "participant.quality").map((event) => event.trouble);
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  assert.deepEqual(quality(), [], "a clean line is nothing to tell of");
  path.shape({ loss: 0.45 }, { loss: 0.45 });
  await until(() => quality().includes("loss"), { timeout: 40_000 });
  path.shape({}, {});
  await until(() => quality().at(-1) === null, { timeout: 40_000 });
  assert.deepEqual(quality(), ["loss", null]);
});
