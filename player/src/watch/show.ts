// What the watch page shows, and when it loads, drops or reloads the stream. Pure.

import { backoffMs } from "../sdk/backoff";
import type { Room } from "../sdk/api";

export type Show =
  /** Nothing is known yet. */
  | { name: "looking" }
  | { name: "waiting" }
  /** On air, but there is no picture yet. */
  | { name: "starting"; broadcast: string; attempt: number; retryAt: number | null }
  | { name: "playing"; broadcast: string; attempt: number }
  /** The picture was lost; the stream is loaded again at `retryAt`. */
  | { name: "interrupted"; broadcast: string; attempt: number; retryAt: number }
  | { name: "ended"; broadcast: string; recording: string | null }
  /** The server says no, and will say so again. */
  | { name: "refused"; reason: string };

export type ShowEvent =
  | { type: "room"; room: Room }
  /** The server knows no such room: somebody may still open it. */
  | { type: "no-room" }
  | { type: "unreachable" }
  | { type: "refused"; reason: string }
  | { type: "playing" }
  /** The player gave up on the stream. */
  | { type: "failed" }
  /** The last picture of the broadcast was shown. */
  | { type: "finished" }
  | { type: "tick" };

export type ShowEffect = "attach" | "detach" | "ask";

export const LOOKING: Show = { name: "looking" };

/** The next state, and what is to be done. */
export function step(state: Show, event: ShowEvent, now: number, random: number): [Show, ShowEffect[]] {
  switch (event.type) {
    case "room":
      return onRoom(state, event.room);
    case "no-room":
      return state.name === "looking" || state.name === "refused" ? [{ name: "waiting" }, []] : [state, []];
    case "unreachable":
      // What plays, plays on from its buffer, or fails by itself.
      return state.name === "refused" ? [LOOKING, []] : [state, []];
    case "refused":
      // What plays, plays on; what is tried again and again is refused by then, too.
      return state.name === "playing" ? [state, []] : [{ name: "refused", reason: event.reason }, isOn(state) ? ["detach"] : []];
    case "playing":
      return state.name === "starting" || state.name === "interrupted"
        ? [{ name: "playing", broadcast: state.broadcast, attempt: 0 }, []]
        : [state, []];
    case "failed":
      return onFailed(state, now, random);
    case "finished":
      return isOn(state)
        ? [{ name: "ended", broadcast: state.broadcast, recording: null }, ["detach", "ask"]]
        : [state, []];
    case "tick":
      return (state.name === "starting" || state.name === "interrupted") && state.retryAt !== null && now >= state.retryAt
        ? [attached(state), ["attach"]]
        : [state, []];
  }
}

/** How soon to ask the server again. The page becomes the stream "by itself" in about this time. */
export function pollMs(state: Show): number {
  switch (state.name) {
    case "looking":
    case "waiting":
    case "starting":
    case "interrupted":
      return 900;
    case "ended":
      return 1_500;
    case "playing":
      return 4_000;
    case "refused":
      return 10_000;
  }
}

function onRoom(state: Show, room: Room): [Show, ShowEffect[]] {
  const on = room.live ? (room.broadcast?.id ?? room.id) : null;
  switch (state.name) {
    case "looking":
    case "waiting":
    case "refused":
      return on ? begin(on) : [{ name: "waiting" }, []];
    case "ended":
      if (on && on !== state.broadcast) return begin(on);
      return room.last_recording === state.broadcast && state.recording === null
        ? [{ ...state, recording: room.last_recording }, []]
        : [state, []];
    case "playing":
      // The last seconds are still in the buffer: `finished` or `failed` ends the show.
      return on && on !== state.broadcast ? begin(on) : [state, []];
    case "starting":
    case "interrupted":
      if (on && on !== state.broadcast) return begin(on);
      return on ? [state, []] : [{ name: "ended", broadcast: state.broadcast, recording: null }, ["detach", "ask"]];
  }
}

function begin(broadcast: string): [Show, ShowEffect[]] {
  return [{ name: "starting", broadcast, attempt: 0, retryAt: null }, ["attach"]];
}

function onFailed(state: Show, now: number, random: number): [Show, ShowEffect[]] {
  if (state.name !== "starting" && state.name !== "playing" && state.name !== "interrupted") return [state, []];
  const attempt = state.attempt + 1;
  const retryAt = now + (state.name === "starting" ? STARTING_RETRY_MS : backoffMs(attempt, random));
  // Whether it ended, began anew or only stumbled, the server knows: ask it at once.
  return state.name === "starting"
    ? [{ ...state, attempt, retryAt }, ["detach", "ask"]]
    : [{ name: "interrupted", broadcast: state.broadcast, attempt, retryAt }, ["detach", "ask"]];
}

/** A broadcast's first part is due within a second or two: look often. */
const STARTING_RETRY_MS = 300;

function attached(state: Extract<Show, { retryAt: number | null }>): Show {
  return state.name === "starting" ? { ...state, retryAt: null } : { ...state, retryAt: Number.POSITIVE_INFINITY };
}

function isOn(state: Show): state is Extract<Show, { name: "starting" | "playing" | "interrupted" }> {
  return state.name === "starting" || state.name === "playing" || state.name === "interrupted";
}
