// What is really sent, from the peer connection's statistics. Pure.

/** The little of RTCStats that is used here. */
export interface Stat {
  id: string;
  type: string;
  timestamp: number;
  kind?: string;
  bytesSent?: number;
  frameWidth?: number;
  frameHeight?: number;
  framesPerSecond?: number;
  codecId?: string;
  mimeType?: string;
  qualityLimitationReason?: string;
  nominated?: boolean;
  currentRoundTripTime?: number;
  [key: string]: unknown;
}

export interface Sent {
  bitrate_bps: number | null;
  width: number | null;
  height: number | null;
  fps: number | null;
  codec: string | null;
  limitedBy: string | null;
  roundTrip_ms: number | null;
}

/** Between two reports; the first one has no rate yet. */
export function sent(before: Stat[], after: Stat[]): Sent {
  const streams = after.filter((stat) => stat.type === "outbound-rtp");
  // Of several layers the largest is the picture.
  const video = streams.filter((stat) => stat.kind === "video")
    .reduce<Stat | undefined>((best, stat) => ((stat.frameHeight ?? 0) > (best?.frameHeight ?? -1) ? stat : best), undefined);
  const named = video ?? streams[0];
  const codec = after.find((stat) => stat.id === named?.codecId)?.mimeType;
  const pair = after.find((stat) => stat.type === "candidate-pair" && stat.nominated && stat.currentRoundTripTime !== undefined);
  const limit = video?.qualityLimitationReason;
  return {
    bitrate_bps: bitrate(before, streams),
    width: video?.frameWidth ?? null,
    height: video?.frameHeight ?? null,
    fps: video?.framesPerSecond ?? null,
    codec: codec?.split("/")[1] ?? null,
    limitedBy: limit && limit !== "none" ? limit : null,
    roundTrip_ms: pair?.currentRoundTripTime === undefined ? null : Math.round(pair.currentRoundTripTime * 1000),
  };
}

function bitrate(before: Stat[], streams: Stat[]): number | null {
  let bits = 0;
  let seen = false;
  for (const stream of streams) {
    const old = before.find((stat) => stat.id === stream.id);
    const elapsed_s = old ? (stream.timestamp - old.timestamp) / 1000 : 0;
    if (!old || elapsed_s <= 0) continue;
    seen = true;
    bits += (8 * Math.max(0, (stream.bytesSent ?? 0) - (old.bytesSent ?? 0))) / elapsed_s;
  }
  return seen ? Math.round(bits) : null;
}

/** `2.4 Mbit/s`, `640 kbit/s`. */
export function bitrateText(bps: number): string {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1000)} kbit/s`;
}
