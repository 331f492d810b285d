// The same player for a recording.

import type Hls from "hls.js";
import type { HlsConfig } from "hls.js";
import { Hls as HlsClass } from "hls-video-element";
import { controls } from "./chrome";
import { keysAnywhere } from "./keys";

/** Loads a recording; `failed` is called when it cannot be played. */
export function playRecording(
  root: HTMLElement,
  { src, title, poster, thumbnails, failed }: {
    src: string;
    title: string;
    poster?: string;
    thumbnails?: string;
    failed: (status: number | null) => void;
  },
): HTMLVideoElement {
  root.append(controls("recording", title));
  keysAnywhere(root.querySelector("media-controller") as HTMLElement);
  const video = root.querySelector("hls-video") as HTMLVideoElement & { api: Hls | null; config: Partial<HlsConfig> };
  video.config = {
    enableWorker: false,
    abrEwmaDefaultEstimate: 5_000_000,
  };
  if (poster) video.setAttribute("poster", poster);
  if (thumbnails) {
    // media-chrome shows the cues of this track over the time range.
    const track = document.createElement("track");
    Object.assign(track, { label: "thumbnails", kind: "metadata", src: thumbnails, default: true });
    video.append(track);
  }
  video.setAttribute("src", src);
  queueMicrotask(() => queueMicrotask(() => {
    video.api?.on(HlsClass.Events.ERROR, (_, data) => {
      if (data.fatal) failed(data.response?.code ?? null);
    });
  }));
  return video;
}
