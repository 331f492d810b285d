// Holds a live player at a chosen distance behind the live edge. Pure: fed with measurements.
//
// hls.js catches up only with more than a second of buffer ahead, so it never reaches half a
// second. This controller needs no such reserve: it plays a few percent faster or slower, keeps
// the reserve that the network turned out to need, and gives latency up when playback stalls.

export interface LatencySettings {
  /** Where playback wants to be behind the live edge, in seconds. */
  target: number;
  /** The farthest that stalls can push it back. */
  maxTarget: number;
  /** How much one stall adds at most. */
  stallStep: number;
  /** How much a near miss adds, so that there is no stall. */
  nearStep: number;
  /** Calm seconds before latency is tried lower again; doubles with stalls that follow each other. */
  calm: number;
  maxCalm: number;
  /** Less than this too much is not worth a change. */
  easeStep: number;
  /** The slowest and the fastest playback; beyond this, ears notice. */
  minRate: number;
  maxRate: number;
  /** Farther behind than this over the target, seek: catching up by speed would take minutes. */
  jump: number;
  /** The same until playback was at its target for the first time: a start may skip. */
  startJump: number;
}

export const LATENCY: LatencySettings = {
  target: 0.5,
  maxTarget: 4,
  stallStep: 0.3,
  nearStep: 0.05,
  calm: 15,
  maxCalm: 240,
  easeStep: 0.1,
  minRate: 0.92,
  maxRate: 1.12,
  jump: 3,
  startJump: 0.6,
};

export interface LatencyReading {
  /** Seconds on any steady clock. */
  now: number;
  /** Seconds from the live edge to what is shown. */
  latency: number;
  /** Seconds of media ahead of what is shown. */
  buffered: number;
}

export interface LatencyDecision {
  rate: number;
  /** Seek forward to the target instead. */
  jump: boolean;
  target: number;
}

/** Nearer to the target than this is at the target. */
const CLOSE = 0.02;
/** Once at the target, only this much drift is worth a change of speed. */
const DRIFTED = 0.06;
/** Speed per second of distance. */
const GAIN = 0.4;
/** So little ahead that the next late part would stall: never speed up into it. */
const THIN = 0.08;
/** A few parts long: each ends with the least there is ahead. */
const WATCH_S = 2;

/** Stalls within this have one cause. */
const MOMENT_S = 5;

export class LatencyController {
  private target: number;
  private calm: number;
  private calmSince: number | null = null;
  private correcting = true;
  private arrived = false;
  private stalledAt = Number.NEGATIVE_INFINITY;
  private momentSince = Number.NEGATIVE_INFINITY;
  /** The least there was ahead, in the current watch and in the current calm period. */
  private least = { since: 0, watch: Number.POSITIVE_INFINITY, calm: Number.POSITIVE_INFINITY };

  constructor(private readonly settings: LatencySettings = LATENCY) {
    this.target = settings.target;
    this.calm = settings.calm;
  }

  get currentTarget(): number {
    return this.target;
  }

  /**
   * Playback ran dry for so many seconds: keep as much more distance as was missing, and be slower
   * to give it up again.
   */
  stalled(now: number, seconds: number): void {
    const { stallStep, maxTarget, maxCalm } = this.settings;
    this.target = Math.min(maxTarget, this.target + Math.min(stallStep, seconds + THIN));
    // A moment passes, such as that of another page's start; who stalls again soon after it has a
    // network that does so.
    if (now - this.momentSince >= MOMENT_S) {
      if (now - this.stalledAt < this.calm * 2) this.calm = Math.min(maxCalm, this.calm * 2);
      this.momentSince = now;
    }
    this.stalledAt = now;
    this.disturbed(now);
  }

  /** To be asked a few times a second while playback follows the live edge. */
  update({ now, latency, buffered }: LatencyReading): LatencyDecision {
    if (this.arrived) this.keepReserve(now, buffered);
    this.ease(now);
    const { jump, startJump, minRate, maxRate } = this.settings;
    const distance = latency - this.target;
    this.arrived ||= distance < CLOSE;
    if (distance > (this.arrived ? jump : startJump)) return { rate: 1, jump: true, target: this.target };
    const far = Math.abs(distance);
    this.correcting = far > (this.correcting ? CLOSE : DRIFTED);
    let rate = this.correcting ? 1 + GAIN * distance : 1;
    if (buffered < THIN) rate = Math.min(rate, 1);
    rate = Math.min(maxRate, Math.max(minRate, rate));
    return { rate: Math.round(rate * 100) / 100, jump: false, target: this.target };
  }

  /** A buffer that almost ran dry asks for a little more distance before it does. */
  private keepReserve(now: number, buffered: number): void {
    const { least, settings } = this;
    least.watch = Math.min(least.watch, buffered);
    least.calm = Math.min(least.calm, buffered);
    if (now - least.since < WATCH_S) return;
    if (least.watch < THIN) {
      this.target = Math.min(settings.maxTarget, this.target + settings.nearStep);
      this.disturbed(now);
    }
    least.since = now;
    least.watch = Number.POSITIVE_INFINITY;
  }

  /** After a calm period, closer again by what was never needed. */
  private ease(now: number): void {
    this.calmSince ??= now;
    if (now - this.calmSince < this.calm) return;
    const { target, easeStep, calm } = this.settings;
    const spare = this.least.calm - 2 * THIN;
    if (spare > easeStep) this.target = Math.max(target, this.target - spare);
    if (now - this.stalledAt > this.calm * 2) this.calm = Math.max(calm, this.calm / 2);
    this.disturbed(now);
  }

  private disturbed(now: number): void {
    this.calmSince = now;
    this.least.calm = Number.POSITIVE_INFINITY;
  }
}
