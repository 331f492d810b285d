// A publisher that stays: WHIP sessions one after another, by the decisions of `publishing.ts`.

import { Heartbeat } from "./heartbeat";
import { Problem } from "./problem";
import { IDLE, type Publishing, type PublishingEffect, type PublishingEvent, step } from "./publishing";
import { WhipSession, type WhipOptions } from "./whip";

export interface PublisherOptions extends WhipOptions {
  /** Adds the tracks; called for each new connection. */
  prepare: (pc: RTCPeerConnection) => void | Promise<void>;
  /** Called at each change of the state. */
  changed: (state: Publishing) => void;
}

const PULSE_MS = 500;

/** Publishes from `start` to `stop`, through lost networks and restarted servers. */
export class Publisher {
  state: Publishing = IDLE;
  private session: WhipSession | null = null;
  private opening: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pulse: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: PublisherOptions) {}

  /** The connection in use, for statistics and for replacing tracks. */
  get pc(): RTCPeerConnection | null {
    return this.session?.pc ?? null;
  }

  start(): void {
    globalThis.addEventListener?.("online", this.online);
    this.handle({ type: "start" });
  }

  /** Ends the session; also right in a `pagehide` handler. */
  stop(): void {
    globalThis.removeEventListener?.("online", this.online);
    this.handle({ type: "stop" });
  }

  private readonly online = () => this.handle({ type: "online" });

  private handle(event: PublishingEvent): void {
    const before = this.state;
    const [state, effects] = step(before, event, Date.now(), Math.random());
    this.state = state;
    clearTimeout(this.timer);
    if ("until" in state) {
      this.timer = setTimeout(() => this.handle({ type: "tick" }), Math.max(0, state.until - Date.now()));
    }
    for (const effect of effects) this.run(effect);
    if (state !== before) this.options.changed(state);
  }

  private run(effect: PublishingEffect): void {
    if (effect === "open") void this.open();
    else if (effect === "restart-ice") void this.restartIce();
    else this.close();
  }

  private async open(): Promise<void> {
    const opening = new AbortController();
    this.opening = opening;
    const current = () => this.opening === opening;
    try {
      const session = await WhipSession.open((pc) => {
        this.watch(pc, current);
        return this.options.prepare(pc);
      }, this.options, opening.signal);
      if (!current()) return session.close();
      this.session = session;
      this.listenTo(session.pc);
      if (session.pc.connectionState === "connected") this.handle({ type: "connected" });
    } catch (error) {
      if (current()) this.handle(failure(error));
    }
  }

  private watch(pc: RTCPeerConnection, current: () => boolean): void {
    pc.addEventListener("connectionstatechange", () => {
      if (!current()) return;
      if (pc.connectionState === "connected") this.handle({ type: "connected" });
      else if (pc.connectionState === "disconnected") this.handle({ type: "disconnected" });
      // "closed" comes by itself only when the server ended DTLS: it left, ICE cannot help.
      else if (pc.connectionState === "failed" || pc.connectionState === "closed") this.handle({ type: "lost" });
    });
  }

  /** The browser takes five seconds and more to call a path lost; feedback tells sooner. */
  private listenTo(pc: RTCPeerConnection): void {
    const heartbeat = new Heartbeat();
    clearInterval(this.pulse);
    this.pulse = setInterval(async () => {
      if (pc !== this.pc || pc.connectionState !== "connected") return;
      let bytes = 0;
      (await pc.getStats()).forEach((stat) => (bytes += stat.type === "transport" ? stat.bytesReceived : 0));
      const beat = heartbeat.sample(Date.now(), bytes);
      if (beat && pc === this.pc) this.handle({ type: beat === "silent" ? "disconnected" : "connected" });
    }, PULSE_MS);
  }

  private async restartIce(): Promise<void> {
    const { session } = this;
    if (!session) return;
    try {
      await session.restartIce();
    } catch (error) {
      if (session === this.session) this.handle(failure(error));
    }
  }

  private close(): void {
    clearInterval(this.pulse);
    this.opening?.abort();
    this.opening = null;
    this.session?.close();
    this.session = null;
  }
}

function failure(error: unknown): PublishingEvent {
  if (error instanceof Problem) {
    return { type: "failed", reason: error.detail, passing: error.isPassing, retryAfterMs: error.retryAfterMs };
  }
  return { type: "failed", reason: String(error), passing: false };
}
