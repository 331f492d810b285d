// `/`: what is live, what was recorded, and the way onto the stage.

import { Api, type Recording, type Room } from "../sdk/api";
import { Problem } from "../sdk/problem";
import { carriedToken, element, mediaPath, repeat, sentence, token } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { ago, clockTime } from "../ui/time";

const REFRESH_MS = 4_000;
const MAX_RECORDINGS = 24;

const api = new Api({ token: token() });
const form = element<HTMLFormElement>("go-live");
const roomName = element<HTMLInputElement>("room");
const trouble = element("trouble");

drawTheatres();

form.addEventListener("submit", (event) => {
  event.preventDefault();
  location.href = `/publish/${encodeURIComponent(roomName.value.trim())}${carriedToken()}`;
});

repeat(async () => {
  try {
    const [rooms, recordings] = await Promise.all([api.liveRooms(), api.recordings().catch(() => [])]);
    showLive(rooms);
    showRecordings(recordings.filter((recording) => recording.state === "complete").slice(0, MAX_RECORDINGS));
    trouble.hidden = true;
  } catch (error) {
    trouble.textContent = sentence(error instanceof Problem ? error.detail : String(error));
    trouble.hidden = false;
  }
  return REFRESH_MS;
});

function showLive(rooms: Room[]): void {
  element("dark").hidden = rooms.length > 0;
  update(element("live"), rooms.map((room) => ({
    key: `${room.id} ${room.broadcast?.id}`,
    href: `/watch/${encodeURIComponent(room.id)}${room.settings.private ? carriedToken() : ""}`,
    name: room.id,
    facts: [
      room.broadcast ? `started ${ago(new Date(room.broadcast.started_at), new Date())}` : "",
      room.participants > 0 ? `${room.participants} participant${room.participants === 1 ? "" : "s"}` : "",
    ],
    live: true,
    picture: null,
  })));
}

function showRecordings(recordings: Recording[]): void {
  element("recordings-section").hidden = recordings.length === 0;
  update(element("recordings"), recordings.map((recording) => ({
    key: recording.id,
    href: `/vod/${recording.id}${recording.private ? carriedToken() : ""}`,
    name: recording.room,
    facts: [
      ago(new Date(recording.started_at), new Date()),
      recording.duration_s ? clockTime(recording.duration_s) : "",
    ],
    live: false,
    picture: mediaPath(`/vod/${recording.id}/poster.jpg`, recording.private),
  })));
}

interface Show {
  key: string;
  href: string;
  name: string;
  facts: string[];
  live: boolean;
  picture: string | null;
}

/** Keeps the cards that stay, so that focus and pictures are not lost at each refresh. */
function update(list: HTMLElement, shows: Show[]): void {
  const known = new Map([...list.children].map((card) => [(card as HTMLElement).dataset["key"], card as HTMLElement]));
  const cards = shows.map((show) => {
    const card = known.get(show.key) ?? newCard(show);
    const facts = card.querySelector(".facts");
    if (facts) facts.textContent = show.facts.filter(Boolean).join(" · ");
    return card;
  });
  if (cards.length !== list.children.length || cards.some((card, index) => card !== list.children[index])) {
    list.replaceChildren(...cards);
  }
}

function newCard(show: Show): HTMLElement {
  const card = document.createElement("li");
  card.className = "show";
  card.dataset["key"] = show.key;

  const picture = document.createElement("div");
  picture.className = "picture";
  const house = document.createElement("div");
  house.dataset["theatre"] = show.live ? "0.3" : "0.06";
  picture.append(house);
  if (show.picture) {
    const image = new Image();
    image.alt = "";
    image.loading = "lazy";
    image.src = show.picture;
    image.addEventListener("error", () => image.remove());
    picture.append(image);
  }
  if (show.live) {
    const badge = document.createElement("span");
    badge.className = "badge";
    badge.dataset["tone"] = "live";
    badge.textContent = "Live";
    picture.append(badge);
  }

  const words = document.createElement("div");
  words.className = "words";
  const link = document.createElement("a");
  link.className = "name";
  link.href = show.href + carriedToken();
  link.textContent = show.name;
  const facts = document.createElement("p");
  facts.className = "facts";
  words.append(link, facts);
  card.append(picture, words);
  queueMicrotask(drawTheatres);
  return card;
}
