// `/watch/{room}`: the room's program, its state, and a way to share it.

import { copy, element, subject } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { ago } from "../ui/time";
import type { Show } from "./show";
import { openTheatre } from "./theatre";

const room = subject();
element("room").textContent = room;
document.title = `${room} · Amphi`;
drawTheatres();

let since: Date | null = null;
const player = openTheatre(element("frame"), room, (state, startedAt) => {
  since = state.name === "playing" || state.name === "interrupted" ? startedAt : null;
  const [text, tone] = badgeOf(state);
  const badge = element("badge");
  badge.textContent = text;
  badge.dataset["tone"] = tone;
  showFacts();
});
setInterval(showFacts, 15_000);

const link = element<HTMLInputElement>("link");
link.value = new URL(`/watch/${encodeURIComponent(room)}`, location.href).href;
element("share").addEventListener("click", (event) => {
  const button = event.currentTarget as HTMLElement;
  // Phones have a sheet for this; elsewhere the clipboard is nearer.
  if (navigator.share && matchMedia("(pointer: coarse)").matches) {
    navigator.share({ title: document.title, url: link.value }).catch(() => {});
  } else void copy(link.value, button, "Link copied");
});

const measure = new URLSearchParams(location.search).get("measure");
if (measure !== null) {
  const perSecond = Number(measure) || Number.POSITIVE_INFINITY;
  void import("./measure").then(({ measureGlass }) => measureGlass(player.video.nativeEl, element("frame"), perSecond));
}
Object.assign(globalThis, { amphi: { player } });

function showFacts(): void {
  element("facts").textContent = since ? `On air since ${since.toLocaleTimeString([], { timeStyle: "short" })}, ${ago(since, new Date())}` : "";
}

function badgeOf(state: Show): [string, string] {
  switch (state.name) {
    case "playing": return ["Live", "live"];
    case "starting": return ["Starting", "warn"];
    case "interrupted": return ["Reconnecting…", "warn"];
    case "ended": return ["Ended", ""];
    default: return ["Off air", ""];
  }
}
