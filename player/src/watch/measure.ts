// `?measure`: reads the barcode clock out of the picture, frame by frame or, with `?measure=10`, ten
// times a second, and shows the delay.

import { COLUMNS, decode } from "../sdk/barcode";

/** One frame with a readable clock; also dispatched on `document` as `amphi:glass`. */
export interface Glass {
  /** From the moment the frame was drawn at its source to its display here. */
  latency_ms: number;
  /** Frames without a readable clock so far. */
  unreadable: number;
  frames: number;
}

const SAMPLES = 4;

/** Reads at most so many frames a second: each is converted for it, as a whole. */
export function measureGlass(video: HTMLVideoElement, place: HTMLElement, perSecond: number): void {
  const canvas = document.createElement("canvas");
  canvas.width = COLUMNS * SAMPLES;
  canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  if (!context || !("requestVideoFrameCallback" in video)) return;
  const label = document.createElement("output");
  label.className = "glass";
  place.append(label);

  let frames = 0;
  let unreadable = 0;
  let recent: number[] = [];
  let due = 0;
  const read = (now: number) => {
    video.requestVideoFrameCallback(read);
    const { videoWidth: width, videoHeight: height } = video;
    if (width === 0 || now < due) return;
    due = Math.max(due + 1000 / perSecond, now);
    frames++;
    context.drawImage(video, 0, height * 0.04, width, height * 0.02, 0, 0, canvas.width, 1);
    const time = decode(brightness(context.getImageData(0, 0, canvas.width, 1).data));
    const latency_ms = time === null ? null : Date.now() - time;
    if (latency_ms === null) unreadable++;
    else {
      document.dispatchEvent(new CustomEvent<Glass>("amphi:glass", { detail: { latency_ms, unreadable, frames } }));
      recent.push(latency_ms);
    }
    if (recent.length >= 15) {
      recent.sort((a, b) => a - b);
      label.textContent = `glass to glass ${((recent[recent.length >> 1] ?? 0) / 1000).toFixed(2)} s`;
      recent = [];
    }
  };
  video.requestVideoFrameCallback(read);
}

/** The middle samples of each column: its edges are mixed with its neighbours. */
function brightness(pixels: Uint8ClampedArray): number[] {
  return Array.from({ length: COLUMNS }, (_, column) => {
    const green = (sample: number) => pixels[(column * SAMPLES + sample) * 4 + 1] ?? 0;
    return (green(1) + green(2)) / 2;
  });
}
