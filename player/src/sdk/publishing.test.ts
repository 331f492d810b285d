import { expect, test } from "vitest";
import {
  CONNECT_LIMIT_MS, IDLE, RESTART_LIMIT_MS, UNSTABLE_LIMIT_MS,
  type Publishing, type PublishingEvent, step,
} from "./publishing";

/** Plays events at times, and returns the states' names with all effects. */
function play(...script: [at: number, event: PublishingEvent["type"] | PublishingEvent][]) {
  let state: Publishing = IDLE;
  const told: string[] = [];
  for (const [at, event] of script) {
    const [next, effects] = step(state, typeof event === "string" ? ({ type: event } as PublishingEvent) : event, at, 0);
    state = next;
    told.push([next.name, ...effects].join(" "));
  }
  return told;
}

const passing = { type: "failed", reason: "503", passing: true } as const;
const final = { type: "failed", reason: "403", passing: false } as const;

test("goes live and stops", () => {
  expect(play([0, "start"], [50, "connected"], [60, "stop"])).toEqual(["connecting open", "live", "idle close"]);
});

test("a blip heals by itself; a longer one restarts ICE", () => {
  expect(play([0, "start"], [1, "connected"], [10, "disconnected"], [20, "connected"])).toEqual([
    "connecting open", "live", "unstable", "live",
  ]);
  const late = 10 + UNSTABLE_LIMIT_MS;
  expect(play([0, "start"], [1, "connected"], [10, "disconnected"], [late - 1, "tick"], [late, "tick"], [late + 9, "connected"]))
    .toEqual(["connecting open", "live", "unstable", "unstable", "restarting restart-ice", "live"]);
});

test("a session that a restart cannot save is opened anew, at once if it had run for long", () => {
  expect(play([0, "start"], [1, "connected"], [60_000, "lost"], [60_001, final])).toEqual([
    "connecting open", "live", "restarting restart-ice", "connecting close open",
  ]);
  expect(play([0, "start"], [1, "connected"], [100, "lost"], [101 + RESTART_LIMIT_MS, "tick"])).toEqual([
    "connecting open", "live", "restarting restart-ice", "waiting close",
  ]);
});

test("a refusal is final, a failure that may pass is not", () => {
  expect(play([0, "start"], [1, final], [2, "start"])).toEqual(["connecting open", "refused close", "connecting open"]);
  expect(play([0, "start"], [1, passing], [100, "tick"], [401, "tick"])).toEqual([
    "connecting open", "waiting close", "waiting", "connecting open",
  ]);
});

test("waits grow, obey Retry-After, and end when the network is back", () => {
  let state: Publishing = IDLE;
  let now = 0;
  const waits: number[] = [];
  [state] = step(state, { type: "start" }, now, 0);
  for (let i = 0; i < 12; i++) {
    [state] = step(state, passing, now, 0);
    if (state.name !== "waiting") throw new Error(state.name);
    waits.push(state.until - now);
    now = state.until;
    [state] = step(state, { type: "tick" }, now, 0);
  }
  expect(waits.slice(0, 3)).toEqual([400, 680, 1156]);
  expect(Math.max(...waits)).toBe(8000);

  const [waiting] = step(state, { ...passing, retryAfterMs: 30_000 }, now, 0);
  expect(waiting).toMatchObject({ name: "waiting", until: now + 30_000 });
  expect(step(waiting, { type: "online" }, now + 1, 0)[0].name).toBe("connecting");
});

test("a connection that never comes is tried again", () => {
  expect(play([0, "start"], [CONNECT_LIMIT_MS, "tick"])).toEqual(["connecting open", "waiting close"]);
});

test("what comes too late changes nothing", () => {
  expect(play([0, "start"], [1, "stop"], [2, "connected"], [3, passing], [4, "lost"], [5, "tick"])).toEqual([
    "connecting open", "idle close", "idle", "idle", "idle", "idle",
  ]);
});
