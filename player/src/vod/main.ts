// `/vod/{recording}`: a recording plays, and can be taken home.

import { playRecording } from "../player/recording";
import { Api } from "../sdk/api";
import { element, subject, token } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { clockTime } from "../ui/time";

const id = subject();
const base = `/vod/${encodeURIComponent(id)}`;
drawTheatres();

playRecording(element("frame"), {
  src: `${base}/index.m3u8`,
  title: "Recording",
  poster: `${base}/poster.jpg`,
  thumbnails: `${base}/thumbnails.vtt`,
  token: token(),
  failed: (status) => {
    const trouble = element("trouble");
    trouble.textContent = status === 404
      ? "There is no such recording. It may still be being made, or it was deleted."
      : "The recording cannot be played right now. Load the page again in a moment.";
    trouble.hidden = false;
  },
});
void describe();

/** What the list of recordings says of this one; the page plays without it, too. */
async function describe(): Promise<void> {
  const all = await new Api({ token: token() }).recordings().catch(() => []);
  const recording = all.find((one) => one.id === id);
  if (!recording) return;
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
