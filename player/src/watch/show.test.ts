import { expect, test } from "vitest";
import type { Room } from "../sdk/api";
import { LOOKING, type Show, type ShowEvent, pollMs, step } from "./show";

const room = (broadcast: string | null, last_recording: string | null = null): ShowEvent => ({
  type: "room",
  room: {
    id: "demo", participants: 1, live: broadcast !== null, layout: "grid", pinned: null, last_recording,
    settings: { private: false, starts_at: null },
    broadcast: broadcast === null ? null : { id: broadcast, started_at: "2026-11-20T12:00:00Z" },
  } satisfies Room,
});

/** Plays events and returns the states' names with all effects; the last state comes last. */
function play(...events: (ShowEvent | ShowEvent["type"] | [number, ShowEvent["type"]])[]): [string[], Show] {
  let state: Show = LOOKING;
  let now = 0;
  const told: string[] = [];
  for (const item of events) {
    let event: ShowEvent;
    if (Array.isArray(item)) {
      now = item[0];
      event = { type: item[1] } as ShowEvent;
    } else event = typeof item === "string" ? ({ type: item } as ShowEvent) : item;
    const [next, effects] = step(state, event, now, 0);
    state = next;
    told.push([next.name, ...effects].join(" "));
  }
  return [told, state];
}

test("not live yet becomes the stream by itself", () => {
  expect(play("no-room", room(null), room("a"), "playing")[0]).toEqual([
    "waiting", "waiting", "starting attach", "playing",
  ]);
});

test("a stream announced before its first part is tried until it is there", () => {
  expect(play(room("a"), "failed", [100, "tick"], [300, "tick"], "playing")[0]).toEqual([
    "starting attach", "starting detach ask", "starting", "starting attach", "playing",
  ]);
});

test("a stumble is tried again, with growing patience", () => {
  const [told, state] = play(room("a"), "playing", "failed", [400, "tick"], "failed");
  expect(told).toEqual(["starting attach", "playing", "interrupted detach ask", "interrupted attach", "interrupted detach ask"]);
  expect(state).toMatchObject({ attempt: 2, retryAt: 400 + 680 });
});

test("one load at a time: while one runs, time alone starts no other", () => {
  expect(play(room("a"), "playing", "failed", [400, "tick"], [90_000, "tick"])[0].at(-1)).toBe("interrupted");
});

test("the end offers the recording as soon as it is there", () => {
  const [told, state] = play(room("a"), "playing", "finished", room(null, "older"), room(null, "a"));
  expect(told).toEqual(["starting attach", "playing", "ended detach ask", "ended", "ended"]);
  expect(state).toEqual({ name: "ended", broadcast: "a", recording: "a" });
});

test("a room that is off air ends the show only when the buffer is empty", () => {
  expect(play(room("a"), "playing", room(null), "failed", room(null))[0].slice(2)).toEqual([
    "playing", "interrupted detach ask", "ended detach ask",
  ]);
});

test("a new broadcast takes over, from play, failure and end", () => {
  const expected = "starting attach";
  expect(play(room("a"), "playing", room("b"))[0].at(-1)).toBe(expected);
  expect(play(room("a"), "playing", "failed", room("b"))[0].at(-1)).toBe(expected);
  expect(play(room("a"), "playing", "finished", room("a"), room("b"))[0].slice(-2)).toEqual(["ended", expected]);
});

test("a refusal is shown, but does not stop what plays", () => {
  const refused = { type: "refused", reason: "a token is needed" } as const;
  expect(play(refused)[1]).toEqual({ name: "refused", reason: "a token is needed" });
  expect(play(room("a"), "playing", refused)[0].at(-1)).toBe("playing");
  expect(play(refused, "unreachable")[1].name).toBe("looking");
  // A token that ended is the end of the show, and not something to wait for.
  expect(play(room("a"), "playing", "failed", refused)[0].at(-1)).toBe("refused detach");
  expect(play(room("a"), "playing", "failed", refused, room("a"))[0].at(-1)).toBe("starting attach");
});

test("who waits asks often, who watches seldom", () => {
  expect(pollMs({ name: "waiting" })).toBeLessThanOrEqual(1000);
  expect(pollMs({ name: "playing", broadcast: "a", attempt: 0 })).toBeGreaterThanOrEqual(3000);
});
