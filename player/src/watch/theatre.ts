// A room's player with all its states: shared by the watch page and the bare, embedded player.

import { Api } from "../sdk/api";
import { Problem } from "../sdk/problem";
import { LivePlayer } from "../player/live";
import { carriedToken, mediaPath, repeat, sentence, token } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { LOOKING, type Show, type ShowEvent, pollMs, step } from "./show";

/** Fills `frame` with the room's program, whenever there is one. */
export function openTheatre(frame: HTMLElement, room: string, changed: (state: Show, startedAt: Date | null) => void): LivePlayer {
  const api = new Api({ token: token() });
  let isPrivate = false;
  let state: Show = LOOKING;
  let startedAt: Date | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const player = new LivePlayer(frame, {
    title: `Live from ${room}`,
    ...target(),
    playing: () => handle({ type: "playing" }),
    failed: (reason) => {
      console.warn(`the stream stopped: ${reason}`);
      handle({ type: "failed" });
    },
    finished: () => handle({ type: "finished" }),
  });
  const cover = new Cover(frame, room);

  const poll = repeat(async () => {
    try {
      const answer = await api.room(room);
      startedAt = answer.broadcast ? new Date(answer.broadcast.started_at) : startedAt;
      isPrivate = answer.settings.private;
      cover.announce(answer.settings.starts_at ? new Date(answer.settings.starts_at) : null);
      handle({ type: "room", room: answer });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 404) handle({ type: "no-room" });
      else if (error.isPassing) handle({ type: "unreachable" });
      else handle({ type: "refused", reason: error.detail });
    }
    return pollMs(state) * (document.hidden ? HIDDEN_FACTOR : 1);
  });

  function handle(event: ShowEvent): void {
    const [next, effects] = step(state, event, performance.now(), Math.random());
    const isNew = next !== state;
    state = next;
    for (const effect of effects) {
      if (effect === "attach") player.attach(mediaPath(`/live/${encodeURIComponent(room)}/index.m3u8`, isPrivate));
      else if (effect === "detach") player.detach();
      else queueMicrotask(() => poll.now());
    }
    clearTimeout(timer);
    const retryAt = "retryAt" in state ? state.retryAt : null;
    if (retryAt !== null && Number.isFinite(retryAt)) {
      timer = setTimeout(() => handle({ type: "tick" }), Math.max(0, retryAt - performance.now()));
    }
    if (!isNew) return;
    document.documentElement.dataset["show"] = state.name;
    cover.show(state);
    changed(state, startedAt);
  }

  cover.show(state);
  changed(state, null);
  return player;
}

/** A page nobody sees need not know at once; it asks as soon as it is seen again. */
const HIDDEN_FACTOR = 5;

/** As "today at 20:00", or with the day. */
function moment(at: Date): string {
  const time = at.toLocaleTimeString([], { timeStyle: "short" });
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? `today at ${time}` : `on ${at.toLocaleDateString([], { dateStyle: "long" })} at ${time}`;
}

/** `?latency=0.8`: seconds behind the live edge, for who knows their network. */
function target(): { target?: number } {
  const asked = Number(new URLSearchParams(location.search).get("latency") ?? Number.NaN);
  return asked >= 0.2 && asked <= 30 ? { target: asked } : {};
}

/** What stands in the frame while there is no picture. */
class Cover {
  private readonly root = document.createElement("div");
  private readonly toast = document.createElement("p");
  private readonly title = document.createElement("h2");
  private readonly text = document.createElement("p");
  private readonly action = document.createElement("a");
  private startsAt: Date | null = null;
  private state: Show | null = null;

  constructor(frame: HTMLElement, private readonly room: string) {
    this.root.className = "cover";
    this.root.setAttribute("role", "status");
    const house = document.createElement("div");
    house.className = "house";
    house.dataset["theatre"] = "0.14";
    this.action.className = "button primary large";
    this.root.append(house, this.title, this.text, this.action);
    this.toast.className = "toast";
    this.toast.setAttribute("role", "status");
    this.toast.hidden = true;
    frame.append(this.root, this.toast);
    drawTheatres();
  }

  /** When the next broadcast starts, if that is known. */
  announce(startsAt: Date | null): void {
    if (startsAt?.getTime() === this.startsAt?.getTime()) return;
    this.startsAt = startsAt;
    if (this.state) this.show(this.state);
  }

  show(state: Show): void {
    this.state = state;
    this.toast.hidden = state.name !== "interrupted";
    this.toast.textContent = state.name === "interrupted" ? "Connection lost. Trying again…" : "";
    this.root.hidden = state.name === "playing" || state.name === "interrupted";
    const [title, text] = this.words(state);
    this.title.textContent = title;
    this.text.textContent = text;
    const recording = state.name === "ended" ? state.recording : null;
    this.action.hidden = recording === null;
    if (recording) {
      this.action.href = `/vod/${encodeURIComponent(recording)}${carriedToken()}`;
      this.action.textContent = "Watch the recording";
    }
  }

  private words(state: Show): [string, string] {
    switch (state.name) {
      case "looking":
        return ["Finding your seat…", ""];
      case "waiting":
        return [
          this.startsAt ? `${this.room} starts ${moment(this.startsAt)}` : `${this.room} is not live yet`,
          "Stay seated: the stream starts here by itself.",
        ];
      case "starting":
        return ["The curtain rises…", ""];
      case "ended":
        return ["The broadcast has ended", state.recording ? "" : "Its recording is offered here as soon as it is ready."];
      case "refused":
        return ["You cannot watch this room", sentence(state.reason)];
      case "playing":
      case "interrupted":
        return ["", ""];
    }
  }
}
