// How long to wait before trying again.

export interface BackoffSettings {
  firstMs: number;
  factor: number;
  maxMs: number;
  /** The share of the wait that chance decides, so that a thousand clients do not come at once. */
  jitter: number;
}

/** A blip is over within the second; a restart within a few; after that, ask rarely. */
export const BACKOFF: BackoffSettings = { firstMs: 400, factor: 1.7, maxMs: 8_000, jitter: 0.3 };

/**
 * The wait before try number `attempt` (the first retry is 1), in milliseconds.
 * `random` is from 0 to 1.
 */
export function backoffMs(attempt: number, random: number, settings: BackoffSettings = BACKOFF): number {
  const { firstMs, factor, maxMs, jitter } = settings;
  const full = Math.min(maxMs, firstMs * factor ** Math.max(0, attempt - 1));
  return Math.round(full * (1 - jitter * random));
}
