// When to connect, to wait, to restart and to give up: the decisions of a publisher. Pure.

import { backoffMs } from "./backoff";

export type Publishing =
  /** Nothing was asked for yet, or the publisher stopped. */
  | { name: "idle" }
  /** An offer is out, or media does not flow yet. `attempt` counts failures since it last did. */
  | { name: "connecting"; attempt: number; until: number }
  | { name: "live"; since: number }
  /** The path is lost; it may come back by itself until `until`. */
  | { name: "unstable"; since: number; until: number }
  /** ICE looks for another path; after `until`, a new session is opened. */
  | { name: "restarting"; since: number; until: number }
  | { name: "waiting"; attempt: number; until: number; reason: string }
  /** Trying again would not help: people must act. */
  | { name: "refused"; reason: string };

export type PublishingEvent =
  | { type: "start" }
  | { type: "connected" }
  | { type: "disconnected" }
  /** The connection is beyond ICE's help. */
  | { type: "lost" }
  | { type: "failed"; reason: string; passing: boolean; retryAfterMs?: number | undefined }
  | { type: "online" }
  | { type: "tick" }
  | { type: "stop" };

/** What the shell must do now. */
export type PublishingEffect = "open" | "restart-ice" | "close";

/** From the offer to the first media; DTLS over a bad path needs a few round trips. */
export const CONNECT_LIMIT_MS = 12_000;
/** A path that is lost this long rarely comes back by itself. */
export const UNSTABLE_LIMIT_MS = 1_500;
export const RESTART_LIMIT_MS = 5_000;
/** Live for this long, and the failures before are forgotten. */
const SETTLED_MS = 10_000;

export const IDLE: Publishing = { name: "idle" };

/** The next state, and what is to be done. Call with `tick` when the state's `until` has passed. */
export function step(
  state: Publishing,
  event: PublishingEvent,
  now: number,
  random: number,
): [Publishing, PublishingEffect[]] {
  switch (event.type) {
    case "start":
      return state.name === "idle" || state.name === "refused" ? connect(0, now) : [state, []];
    case "stop":
      return [IDLE, holdsSession(state) ? ["close"] : []];
    case "connected":
      return state.name === "connecting" || state.name === "unstable" || state.name === "restarting"
        ? [{ name: "live", since: "since" in state ? state.since : now }, []]
        : [state, []];
    case "disconnected":
      return state.name === "live"
        ? [{ name: "unstable", since: state.since, until: now + UNSTABLE_LIMIT_MS }, []]
        : [state, []];
    case "lost":
      if (state.name === "live" || state.name === "unstable") return restart(state.since, now);
      return holdsSession(state) ? fail(state, { reason: "The connection failed.", passing: true }, now, random) : [state, []];
    case "failed":
      return holdsSession(state) ? fail(state, event, now, random) : [state, []];
    case "online":
      // A new network: what is waited for, try at once; what runs, move over to it.
      if (state.name === "waiting") return connect(state.attempt, now);
      return state.name === "unstable" ? restart(state.since, now) : [state, []];
    case "tick":
      return tick(state, now, random);
  }
}

function tick(state: Publishing, now: number, random: number): [Publishing, PublishingEffect[]] {
  if (!("until" in state) || now < state.until) return [state, []];
  switch (state.name) {
    case "waiting":
      return connect(state.attempt, now);
    case "unstable":
      return restart(state.since, now);
    case "connecting":
      return fail(state, { reason: "The connection could not be made in time.", passing: true }, now, random);
    case "restarting":
      return fail(state, { reason: "The connection was lost.", passing: true }, now, random);
  }
}

function connect(attempt: number, now: number): [Publishing, PublishingEffect[]] {
  return [{ name: "connecting", attempt, until: now + CONNECT_LIMIT_MS }, ["open"]];
}

function restart(since: number, now: number): [Publishing, PublishingEffect[]] {
  return [{ name: "restarting", since, until: now + RESTART_LIMIT_MS }, ["restart-ice"]];
}

function fail(
  state: Publishing,
  failure: { reason: string; passing: boolean; retryAfterMs?: number | undefined },
  now: number,
  random: number,
): [Publishing, PublishingEffect[]] {
  // A session that a restart could not save failed once: the server may just have been restarted.
  const mayBeGone = state.name === "restarting";
  if (mayBeGone && now - state.since >= SETTLED_MS) {
    const [next, effects] = connect(1, now);
    return [next, ["close", ...effects]];
  }
  if (!failure.passing && !mayBeGone) return [{ name: "refused", reason: failure.reason }, ["close"]];
  const attempt = state.name === "connecting" ? state.attempt + 1 : 1;
  const wait = Math.max(failure.retryAfterMs ?? 0, backoffMs(attempt, random));
  return [{ name: "waiting", attempt, until: now + wait, reason: failure.reason }, ["close"]];
}

function holdsSession(state: Publishing): boolean {
  return state.name !== "idle" && state.name !== "waiting" && state.name !== "refused";
}
