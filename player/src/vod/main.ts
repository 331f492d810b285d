// `/vod/{recording}`: a recording plays, and can be taken home.

import { playRecording } from "../player/recording";
import { Api, type Recording } from "../sdk/api";
import { Problem } from "../sdk/problem";
import { element, mediaPath, sentence, subject, token } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { clockTime } from "../ui/time";

const id = subject();
drawTheatres();
void open();

async function open(): Promise<void> {
  let recording: Recording | null = null;
  try {
    recording = await new Api({ token: token() }).recording(id);
  } catch (error) {
    // The page plays without what the API says of it, if it plays at all.
    if (error instanceof Problem && !error.isPassing) return trouble(error.status, error.detail);
  }
  const base = mediaPath(`/vod/${encodeURIComponent(id)}`, recording?.private ?? false);
  playRecording(element("frame"), {
    src: `${base}/index.m3u8`,
    title: "Recording",
    poster: `${base}/poster.jpg`,
    thumbnails: `${base}/thumbnails.vtt`,
    failed: (status) => trouble(status),
  });
  if (recording) await describe(recording, base);
}

function trouble(status: number | null, detail?: string): void {
  const place = element("trouble");
  if (status === 404) place.textContent = "There is no such recording. It may still be being made, or it was deleted.";
  else if (detail) place.textContent = `You cannot watch this recording. ${sentence(detail)}`;
  else place.textContent = "The recording cannot be played right now. Load the page again in a moment.";
  place.hidden = false;
}

async function describe(recording: Recording, base: string): Promise<void> {
  element("room").textContent = recording.room;
  document.title = `${recording.room} · Recording · Amphi`;
  const when = new Date(recording.started_at).toLocaleString([], { dateStyle: "long", timeStyle: "short" });
  element("facts").textContent = [when, recording.duration_s ? clockTime(recording.duration_s) : ""].filter(Boolean).join(" · ");
  const mp4 = await fetch(`${base}/recording.mp4`, { method: "HEAD" }).catch(() => null);
  const download = element<HTMLAnchorElement>("download");
  download.href = `${base}/recording.mp4`;
  download.download = `${recording.room}-${recording.started_at.slice(0, 10)}.mp4`;
  download.hidden = !mp4?.ok;
}
