// Where playback is against the live edge, measured on a player. The deciding is in sdk/latency.

import type Hls from "hls.js";

export interface Edge {
  /** Seconds from the live edge to what is shown. */
  latency: number;
  /** Seconds of media ahead of what is shown. */
  buffered: number;
  /** The live edge now, on the media's timeline. */
  position: number;
}

/** `null` while hls.js has no live playlist. */
export function edge(hls: Hls | null, media: HTMLMediaElement): Edge | null {
  const details = hls?.latestLevelDetails;
  if (!details?.live) return null;
  const position = details.edge + details.age;
  return { latency: position - media.currentTime, buffered: ahead(media), position };
}

function ahead({ buffered, currentTime }: HTMLMediaElement): number {
  for (let i = 0; i < buffered.length; i++) {
    if (buffered.start(i) <= currentTime + 0.1 && currentTime < buffered.end(i)) return buffered.end(i) - currentTime;
  }
  return 0;
}

/** `0.6 s behind live`, or, for who went back on purpose, `1:05 behind live`. */
export function behindText(latency: number): string {
  if (!Number.isFinite(latency) || latency < 0) return "";
  if (latency < 10) return `${latency.toFixed(1)} s behind live`;
  const whole = Math.floor(latency);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} behind live`;
}
