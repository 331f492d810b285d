// The live player: loads a stream, holds it near the live edge, and says when it ends or fails.

import type Hls from "hls.js";
import type { ErrorData, HlsConfig } from "hls.js";
import { Hls as HlsClass } from "hls-video-element";
import { LATENCY, LatencyController } from "../sdk/latency";
import { begun } from "./beginning";
import { controls } from "./chrome";
import { type Edge, behindText, edge } from "./follow";
import { keysAnywhere } from "./keys";

export interface LivePlayerEvents {
  playing: () => void;
  /** The stream cannot be played on; load it again. */
  failed: (reason: string) => void;
  /** The broadcast ended and was shown to its end. */
  finished: () => void;
}

export interface LivePlayerOptions extends LivePlayerEvents {
  title: string;
  /** Sent with every request for playlists and media. */
  token?: string | undefined;
  /** Seconds behind the live edge to aim for. */
  target?: number;
}

interface HlsVideo extends HTMLVideoElement {
  api: Hls | null;
  config: Partial<HlsConfig> | null;
  readonly nativeEl: HTMLVideoElement;
}

/** How often the distance to the live edge is looked at. */
const CONTROL_MS = 100;
/** Playback this much behind its target was put there by the viewer: leave it. */
const FOLLOW_LIMIT = 2;
/** Right after a start or a seek, waiting for data is no stall. */
const GRACE_MS = 1_500;
/** The end is nowhere to be played: sound and picture rarely end together. */
const ENDED_STUCK_MS = 800;
/** Nothing new is shown for this long, though it should be: load the stream anew. */
const STUCK_MS = 6_000;
/** The same part is loaded twice or three times for good reasons; more often, hls.js is lost. */
const MAX_LOADS = 8;
/** Of URLs whose loads are counted: minutes of parts. */
const MAX_COUNTED = 2_000;
const BEGINNING_TIMEOUT_MS = 5_000;
/** A second media error this soon after a recovery: only loading anew helps. */
const MEDIA_RECOVERY_MS = 5_000;

/** One player on the page, for one stream after another. */
export class LivePlayer {
  readonly controller: HTMLElement;
  readonly video: HlsVideo;
  /** Since the page was loaded. */
  readonly stalls = { count: 0, ms: 0 };
  private latency: LatencyController;
  private following = true;
  /** The viewer sought or paused: where playback goes on next is their choice. */
  private chosen = false;
  private quietUntil = 0;
  private stalledAt: number | null = null;
  private recoveredAt = 0;
  private waitingToBegin: AbortController | null = null;
  private progress = { time: 0, at: 0 };
  private readonly behind: HTMLElement | null;
  private readonly sound: HTMLButtonElement;

  constructor(root: HTMLElement, private readonly options: LivePlayerOptions) {
    root.append(controls("live", options.title));
    this.controller = root.querySelector("media-controller") as HTMLElement;
    this.video = root.querySelector("hls-video") as HlsVideo;
    this.behind = root.querySelector(".behind");
    this.sound = root.querySelector(".sound") as HTMLButtonElement;
    this.latency = this.newController();
    this.listen();
    keysAnywhere(this.controller);
    setInterval(() => this.control(), CONTROL_MS);
  }

  attach(src: string): void {
    this.waitingToBegin?.abort();
    this.following = true;
    this.chosen = false;
    this.progress = { time: 0, at: performance.now() };
    this.latency = this.newController();
    this.settle();
    this.video.config = config(this.latency.currentTarget);
    this.video.removeAttribute("src");
    this.video.setAttribute("src", src);
    // hls-video makes its hls.js instance one microtask after `src` is set.
    queueMicrotask(() => queueMicrotask(() => this.watch(this.video.api)));
  }

  detach(): void {
    this.waitingToBegin?.abort();
    this.stalledAt = null;
    this.video.removeAttribute("src");
    if (this.behind) this.behind.textContent = "";
  }

  private newController(): LatencyController {
    return new LatencyController({ ...LATENCY, target: this.options.target ?? LATENCY.target });
  }

  private watch(hls: Hls | null): void {
    if (!hls) return;
    const loads = new Map<string, number>();
    hls.on(HlsClass.Events.FRAG_LOADING, (_, { frag, part }) => {
      const url = (part ?? frag).url;
      const count = (loads.get(url) ?? 0) + 1;
      loads.set(url, count);
      if (loads.size > MAX_COUNTED) loads.clear();
      if (count > MAX_LOADS) this.afterwards(hls, () => this.options.failed(`loads ${url} again and again`));
    });
    hls.on(HlsClass.Events.ERROR, (_, data) => this.onError(hls, data));
    hls.on(HlsClass.Events.LEVEL_UPDATED, (_, { details }) => {
      if (!details.live) this.finishWhenShown(details.edge);
    });
  }

  private onError(hls: Hls, data: ErrorData): void {
    if (hls !== this.video.api) return;
    if (data.details === HlsClass.ErrorDetails.LEVEL_EMPTY_ERROR) {
      return this.afterwards(hls, () => void this.awaitBeginning());
    }
    if (!data.fatal) return;
    const recovering = performance.now() - this.recoveredAt < MEDIA_RECOVERY_MS;
    if (data.type === HlsClass.ErrorTypes.MEDIA_ERROR && !recovering) {
      this.recoveredAt = performance.now();
      hls.recoverMediaError();
      return;
    }
    const reason = `${data.details}${data.response ? ` ${data.response.code}` : ""}`;
    this.afterwards(hls, () => this.options.failed(reason));
  }

  /** hls.js must not be destroyed while it is telling of an event. */
  private afterwards(hls: Hls, act: () => void): void {
    queueMicrotask(() => {
      if (hls === this.video.api) act();
    });
  }

  /** A stream without its first segments is dropped, and loaded again once it has them. */
  private async awaitBeginning(): Promise<void> {
    const src = this.video.getAttribute("src");
    if (!src) return;
    this.detach();
    const waiting = (this.waitingToBegin = new AbortController());
    const get = async (url: string) => {
      const response = await fetch(url, { signal: AbortSignal.timeout(BEGINNING_TIMEOUT_MS) }).catch(() => null);
      return response?.ok ? response.text() : null;
    };
    const playable = await begun(new URL(src, location.href).href, get, waiting.signal);
    if (waiting.signal.aborted) return;
    if (playable) this.attach(src);
    else this.options.failed("the broadcast has no segment yet");
  }

  /** An ended playlist still has seconds to show. */
  private finishWhenShown(end: number): void {
    const { video } = this;
    const hls = video.api;
    const check = () => {
      if (video.api !== hls) return;
      const stuck = performance.now() - this.progress.at > ENDED_STUCK_MS && !video.paused;
      if (video.ended || stuck || video.currentTime >= end - 0.15) this.options.finished();
      else setTimeout(check, CONTROL_MS);
    };
    setTimeout(check, CONTROL_MS);
  }

  private listen(): void {
    const { video } = this;
    video.addEventListener("playing", () => {
      this.stallOver();
      this.options.playing();
    });
    video.addEventListener("waiting", () => this.stallBegan());
    video.addEventListener("seeking", () => {
      this.stallOver();
      this.settle();
    });
    // Only what the viewer did decides: a stream's start seeks and plays, too.
    this.controller.addEventListener("mediaseekrequest", () => (this.chosen = true), { capture: true });
    video.addEventListener("pause", () => {
      this.chosen = true;
      this.stalledAt = null;
    });
    video.addEventListener("volumechange", () => this.offerSound());
    // The live button, and a player that was paused: back to the target, not to the very edge.
    this.controller.addEventListener("mediaseektoliverequest", (event) => {
      event.stopImmediatePropagation();
      this.seekToLive();
    }, { capture: true });
    Object.defineProperty(video, "liveEdgeStart", { get: () => this.liveEdgeStart() });
    this.sound.addEventListener("click", () => {
      video.muted = false;
      if (video.volume === 0) video.volume = 1;
      void video.play().catch(() => {});
    });
    this.offerSound();
  }

  private liveEdgeStart(): number {
    const now = edge(this.video.api, this.video);
    return now ? now.position - this.latency.currentTarget - FOLLOW_LIMIT : Number.NaN;
  }

  private seekToLive(): void {
    const now = edge(this.video.api, this.video);
    if (!now) return;
    this.following = true;
    this.chosen = false;
    this.settle();
    this.video.currentTime = now.position - this.latency.currentTarget;
  }

  private decideFollowing(now: Edge): void {
    this.chosen = false;
    this.following = now.latency < this.latency.currentTarget + FOLLOW_LIMIT;
  }

  private control(): void {
    const { video } = this;
    this.watchProgress();
    const now = edge(video.api, video);
    if (!now || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    if (this.behind) {
      const text = behindText(now.latency);
      if (this.behind.textContent !== text) this.behind.textContent = text;
    }
    if (video.paused || video.seeking) return;
    // Decided here, not in events: those come after the next turn of this clock.
    if (this.chosen) this.decideFollowing(now);
    if (!this.following) return this.setRate(1);
    const { rate, jump } = this.latency.update({ now: performance.now() / 1000, ...now });
    if (jump) return this.seekToLive();
    this.setRate(rate);
  }

  private watchProgress(): void {
    const { video, progress } = this;
    const now = performance.now();
    if (!video.api || video.paused || video.currentTime !== progress.time) {
      this.progress = { time: video.currentTime, at: now };
    } else if (now - progress.at > STUCK_MS) {
      this.progress = { ...progress, at: now };
      this.options.failed("nothing new to show");
    }
  }

  private setRate(rate: number): void {
    if (this.video.playbackRate !== rate) this.video.playbackRate = rate;
  }

  private settle(): void {
    this.quietUntil = performance.now() + GRACE_MS;
    this.stalledAt = null;
  }

  private stallBegan(): void {
    const { video } = this;
    if (this.stalledAt !== null || video.paused || video.seeking || performance.now() < this.quietUntil) return;
    // The end of a broadcast is none.
    if (!edge(video.api, video)) return;
    this.stalledAt = performance.now();
    this.stalls.count++;
  }

  private stallOver(): void {
    if (this.stalledAt === null) return;
    const now = performance.now();
    const ms = now - this.stalledAt;
    this.stalls.ms += ms;
    if (this.following) this.latency.stalled(now / 1000, ms / 1000);
    this.stalledAt = null;
  }

  private offerSound(): void {
    this.sound.hidden = !this.video.muted;
  }
}

function config(target: number): Partial<HlsConfig> {
  return {
    lowLatencyMode: true,
    // Parts are CMAF already: there is nothing to remux that would be worth a thread.
    enableWorker: false,
    liveSyncDuration: target,
    liveSyncOnStallIncrease: 0,
    // Our own controller sets the speed.
    maxLiveSyncPlaybackRate: 1,
    // Browsers evict by themselves. Where hls.js does it, it forgets which parts of the segment that it
    // is loading it has (1.7.4), and may wait at that segment's end until it is no longer listed in parts.
    backBufferLength: Infinity,
    // Begin with the best picture a usual line carries, rather than with a blurred one.
    abrEwmaDefaultEstimate: 5_000_000,
    // Under a second behind, there is no time for hls.js's retries after one and two seconds.
    playlistLoadPolicy: {
      default: {
        maxTimeToFirstByteMs: 10_000,
        maxLoadTimeMs: 20_000,
        timeoutRetry: { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 },
        errorRetry: { maxNumRetry: 5, retryDelayMs: 250, maxRetryDelayMs: 250 },
      },
    },
  };
}
