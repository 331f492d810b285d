import { expect, test } from "vitest";
import { ballistics, loudness } from "./meter";
import { bitrateText, sent, type Stat } from "./sent";

const report = (timestamp: number, audio: number, video: number): Stat[] => [
  { id: "A", type: "outbound-rtp", kind: "audio", timestamp, bytesSent: audio, codecId: "CA" },
  {
    id: "V", type: "outbound-rtp", kind: "video", timestamp, bytesSent: video, codecId: "CV",
    frameWidth: 1280, frameHeight: 720, framesPerSecond: 30, qualityLimitationReason: "none",
  },
  { id: "CA", type: "codec", timestamp, mimeType: "audio/opus" },
  { id: "CV", type: "codec", timestamp, mimeType: "video/H264" },
  { id: "P", type: "candidate-pair", timestamp, nominated: true, currentRoundTripTime: 0.0123 },
];

test("rates are between two reports, over all streams", () => {
  expect(sent(report(0, 0, 0), report(2000, 8_000, 500_000))).toEqual({
    bitrate_bps: 2_032_000, width: 1280, height: 720, fps: 30, codec: "H264", limitedBy: null, roundTrip_ms: 12,
  });
});

test("a first report and an empty one have no rates", () => {
  expect(sent([], report(1000, 1, 1)).bitrate_bps).toBeNull();
  expect(sent([], [])).toEqual({
    bitrate_bps: null, width: null, height: null, fps: null, codec: null, limitedBy: null, roundTrip_ms: null,
  });
});

test("a new connection, which counts from zero, has no negative rate", () => {
  expect(sent(report(0, 9_000, 9_000_000), report(1000, 10, 10)).bitrate_bps).toBe(0);
});

test("bitrates are said in units people know", () => {
  expect(bitrateText(2_440_000)).toBe("2.4 Mbit/s");
  expect(bitrateText(640_400)).toBe("640 kbit/s");
});

test("the meter goes from silence to full scale, and falls slowly", () => {
  expect(loudness(0)).toBe(0);
  expect(loudness(1)).toBe(1);
  expect(loudness(0.0316)).toBeCloseTo(0.5, 2);
  expect(ballistics(0.2, 0.9)).toBe(0.9);
  expect(ballistics(0.9, 0.1)).toBeCloseTo(0.81);
});
