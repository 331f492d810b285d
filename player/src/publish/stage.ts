// The stage: everybody else in the room, as they come and go, speak and share.

import type { Member, MemberTrack, Session, TrackSource } from "../sdk/session";

/** Pictures on the stage: one tile for each camera and each screen, and for who shows neither. */
export interface TileView {
  key: string;
  name: string;
  kind: "camera" | "screen" | "none";
  speaking: boolean;
  silent: boolean;
  note: string;
  picture: MemberTrack | null;
  sound: MemberTrack[];
}

const SOURCES: Record<TrackSource, string> = {
  microphone: "microphone",
  camera: "camera",
  screen: "screen",
  "screen-audio": "screen's sound",
};

/** What one is told of what a producer muted; `""` of nothing. Pure. */
export function mutedNote(muted: TrackSource[]): string {
  const names = muted.map((source) => SOURCES[source]);
  const last = names.pop();
  if (last === undefined) return "";
  const all = names.length > 0 ? `${names.join(", ")} and ${last}` : last;
  return `A producer muted your ${all}: nobody gets it now.`;
}

/** The tiles of a room, screens first. Pure. */
export function tiles(members: Member[]): TileView[] {
  const views = members.filter((member) => !member.self).flatMap((member) => {
    const track = (source: string) => member.tracks.find((t) => t.source === source && !t.muted) ?? null;
    const microphone = track("microphone");
    const camera = track("camera");
    const screen = track("screen");
    const own: TileView = {
      key: member.id,
      name: member.name,
      kind: camera ? "camera" : "none",
      speaking: member.speaking,
      silent: member.publishing && !microphone,
      note: note(member, camera),
      picture: camera,
      sound: microphone ? [microphone] : [],
    };
    if (!screen) return [own];
    const sound = track("screen-audio");
    const shared: TileView = {
      key: `${member.id}/screen`,
      name: `${member.name}: screen`,
      kind: "screen",
      speaking: false,
      silent: false,
      note: screen.paused ? PAUSED : "",
      picture: screen,
      sound: sound ? [sound] : [],
    };
    return [shared, own];
  });
  return views.sort((a, b) => Number(b.kind === "screen") - Number(a.kind === "screen"));
}

const PAUSED = "Picture paused: your network is too slow for it";

function note(member: Member, camera: MemberTrack | null): string {
  if (member.away) return "Connection lost…";
  if (!member.publishing) return "Listening";
  if (camera?.paused) return PAUSED;
  return camera ? "" : "Camera off";
}

/** The letters on a tile without a picture. Pure. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0]!, words[words.length - 1]!] : words;
  return letters.map((word) => [...word][0]!.toUpperCase()).join("") || "?";
}

/** Draws the tiles into an element, and tells the session how large each picture is. */
export class Stage {
  private readonly drawn = new Map<string, Tile>();
  private session: Session | null = null;
  private readonly sizes = new ResizeObserver(() => this.tellSizes());

  constructor(private readonly root: HTMLElement) {
    document.addEventListener("visibilitychange", () => this.tellSizes());
  }

  show(session: Session): void {
    this.session = session;
    const views = tiles(session.members);
    for (const [key, tile] of this.drawn) {
      if (views.some((view) => view.key === key)) continue;
      this.sizes.unobserve(tile.video);
      tile.root.remove();
      this.drawn.delete(key);
    }
    views.forEach((view, at) => {
      let tile = this.drawn.get(view.key);
      if (!tile) {
        tile = new Tile();
        this.drawn.set(view.key, tile);
        this.sizes.observe(tile.video);
      }
      tile.draw(view);
      if (this.root.children[at] !== tile.root) this.root.insertBefore(tile.root, this.root.children[at] ?? null);
    });
    this.root.dataset["count"] = String(views.length);
    this.root.dataset["screens"] = String(views.filter((view) => view.kind === "screen").length);
    this.tellSizes();
  }

  /** A hidden page needs no pictures, only sound. */
  private tellSizes(): void {
    for (const { video, view } of this.drawn.values()) {
      const mid = view?.picture?.mid;
      if (mid) this.session?.show(mid, document.hidden ? 0 : video.clientHeight * devicePixelRatio);
    }
  }
}

class Tile {
  readonly root = document.createElement("figure");
  readonly video = document.createElement("video");
  view: TileView | null = null;
  private readonly letters = document.createElement("span");
  private readonly caption = document.createElement("figcaption");
  private readonly note = document.createElement("span");
  private readonly sounds: HTMLAudioElement[] = [];

  constructor() {
    this.root.className = "tile";
    this.video.autoplay = true;
    this.video.playsInline = true;
    // Its sound plays by elements of its own, so a paused picture silences nobody.
    this.video.muted = true;
    this.letters.className = "letters";
    this.letters.setAttribute("aria-hidden", "true");
    this.note.className = "note";
    this.root.append(this.video, this.letters, this.note, this.caption);
  }

  draw(view: TileView): void {
    this.view = view;
    const { root, video, letters, caption } = this;
    root.dataset["kind"] = view.kind;
    root.dataset["key"] = view.key;
    root.classList.toggle("speaking", view.speaking);
    root.classList.toggle("silent", view.silent);
    attach(video, view.picture?.media ?? null);
    video.hidden = view.picture === null;
    video.setAttribute("aria-label", `${view.name}'s picture`);
    letters.hidden = view.picture !== null;
    set(letters, initials(view.name));
    set(caption, view.silent ? `${view.name} · muted` : view.name);
    set(this.note, view.note);
    view.sound.forEach((track, at) => {
      this.sounds[at] ??= this.root.appendChild(Object.assign(new Audio(), { autoplay: true }));
      attach(this.sounds[at]!, track.media);
    });
    for (const sound of this.sounds.slice(view.sound.length)) attach(sound, null);
  }
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

function attach(element: HTMLMediaElement, track: MediaStreamTrack | null): void {
  const stream = element.srcObject as MediaStream | null;
  if ((stream?.getTracks()[0] ?? null) === track) return;
  element.srcObject = track ? new MediaStream([track]) : null;
  // Without a gesture a browser may refuse sound: any click on the page allows it.
  if (track) void element.play().catch(() => addEventListener("pointerdown", () => void element.play(), { once: true }));
}
