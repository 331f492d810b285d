// A speaker's session at `/rtc/{room}`: see and hear the others, as long as they come and go.
// The server offers and this side answers; a lost socket or network is mended without a word.

import { backoffMs } from "./backoff";
import { Problem } from "./problem";
import { askForLostSound } from "./sdp";

/** Where a track comes from. */
export type TrackSource = "camera" | "microphone" | "screen" | "screen-audio";

export interface MemberTrack {
  source: TrackSource;
  /** Its publisher sends nothing now. */
  muted: boolean;
  /** It does not fit this network now. */
  paused: boolean;
  /** How many play it; lower layers are of use only then. */
  players: number;
  /** The greatest height at which anybody shows it, the program too, rounded up; 0 while nobody does. */
  height: number;
  /** Names the track to {@link Session.show}; `null` for one's own. */
  mid: string | null;
  /** To be played; `null` until it is connected, and for one's own. */
  media: MediaStreamTrack | null;
}

export interface Member {
  id: string;
  name: string;
  role: "host" | "speaker" | "viewer" | "producer";
  /** Whether this is the session's own participant. */
  self: boolean;
  publishing: boolean;
  /** Vanished without a word, and may come back. */
  away: boolean;
  /** Part of the program, once they publish. */
  on_stage: boolean;
  /** What of theirs a producer muted: it reaches nobody. */
  muted: TrackSource[];
  speaking: boolean;
  tracks: MemberTrack[];
}

/** A message to the room. */
export interface Said {
  from: string;
  /** What it is: `chat`, `reaction`, … */
  topic: string;
  text: string;
}

export type SessionState =
  | { name: "joining" }
  | { name: "joined" }
  | { name: "reconnecting" }
  | { name: "refused"; status: number; reason: string }
  | { name: "left" };

export interface SessionOptions {
  /** `/rtc/{room}`, as path or URL. */
  endpoint: string;
  token?: string | undefined;
  name?: string | undefined;
  /** The same as the WHIP publisher's: by it both are one participant. */
  identity?: string | undefined;
  /** Called at each change of the state, the members or their tracks. */
  changed: (session: Session) => void;
  said?: (said: Said) => void;
  /** How connections are made; for tests, and for settings such as a relay-only policy. */
  connect?: (configuration: RTCConfiguration) => RTCPeerConnection;
}

type Told =
  | { type: "welcome"; participant: string; resumed: boolean; resume: string; iceServers: RTCIceServer[] }
  | { type: "room"; participants: ToldMember[]; speaking: string | null; live: boolean; layout: string }
  | { type: "offer"; number: number; fresh: boolean; sdp: string }
  | { type: "paused"; mid: string; paused: boolean }
  | ({ type: "said" } & Said)
  | { type: "error"; detail: string }
  | { type: "refused"; status: number; detail: string };

export interface ToldMember {
  id: string;
  name: string;
  role: Member["role"];
  publishing: boolean;
  away: boolean;
  on_stage: boolean;
  muted: TrackSource[];
  tracks: { source: TrackSource; muted: boolean; players: number; height: number; mid: string | null }[];
}

/** A path that is "disconnected" this long is looked for anew; browsers wait longer by themselves. */
const PATIENCE_MS = 1_500;
/** Socket closes by which a server says that coming back is of no use. */
const FIRST_WAIT_LIMIT_MS = 5_000;

/** Of messages to the room; both sides know of it without a word. */
const ROOM_CHANNEL: RTCDataChannelInit = { negotiated: true, id: 0 };

export class Session {
  state: SessionState = { name: "joining" };
  members: Member[] = [];
  /** Whether the room's program is on air. */
  live = false;
  /** How the program is arranged: a name of `/api/v1/layouts`. */
  layout = "";
  /** One's own id; `""` before the first welcome. */
  id = "";
  private socket: WebSocket | null = null;
  private pc: RTCPeerConnection | null = null;
  private channel: RTCDataChannel | null = null;
  private resume: string | undefined;
  private servers: RTCIceServer[] = [];
  private told: ToldMember[] = [];
  private speaking: string | null = null;
  private paused = new Set<string>();
  private shown = new Map<string, number>();
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private patience: ReturnType<typeof setTimeout> | undefined;
  /** Offers are answered one after another. */
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: SessionOptions) {}

  join(): void {
    globalThis.addEventListener?.("online", this.online);
    this.open();
  }

  /** Gives up the place at once; also right in a `pagehide` handler. */
  leave(): void {
    globalThis.removeEventListener?.("online", this.online);
    clearTimeout(this.timer);
    this.send({ type: "leave" });
    this.drop();
    this.become({ name: "left" });
  }

  /** To all others in the room: beside the media where that is connected, else by the socket. */
  say(topic: string, text: string): void {
    const message = { type: "say", topic, text };
    if (this.channel?.readyState === "open" && this.pc?.connectionState === "connected") {
      this.channel.send(JSON.stringify(message));
    } else {
      this.send(message);
    }
  }

  /** How high the picture of a track is shown, in device pixels; 0 when it is not. */
  show(mid: string, heightPx: number): void {
    const height = Math.round(heightPx);
    if (this.shown.get(mid) === height) return;
    this.shown.set(mid, height);
    this.send({ type: "view", views: [{ mid, height }] });
  }

  /** For statistics. */
  get connection(): RTCPeerConnection | null {
    return this.pc;
  }

  private readonly online = () => {
    if (this.state.name !== "reconnecting") return;
    clearTimeout(this.timer);
    this.open();
  };

  private open(): void {
    const url = new URL(this.options.endpoint, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.socket = socket;
    const opening = setTimeout(() => socket.close(), FIRST_WAIT_LIMIT_MS);
    socket.onopen = () => {
      clearTimeout(opening);
      const { token, name, identity } = this.options;
      this.send({ type: "join", token, name, identity, resume: this.resume });
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.socket) this.hear(JSON.parse(String(data)) as Told);
    };
    socket.onclose = () => {
      clearTimeout(opening);
      if (socket === this.socket) this.lost();
    };
  }

  private lost(): void {
    this.socket = null;
    if (this.state.name === "refused" || this.state.name === "left") return;
    this.become({ name: this.resume ? "reconnecting" : "joining" });
    this.attempt += 1;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), backoffMs(this.attempt, Math.random()));
  }

  private hear(told: Told): void {
    switch (told.type) {
      case "welcome":
        this.attempt = 0;
        this.id = told.participant;
        this.resume = told.resume;
        this.servers = told.iceServers;
        if (!told.resumed) this.dropConnection();
        this.become({ name: "joined" });
        break;
      case "room":
        this.told = told.participants;
        this.speaking = told.speaking;
        this.live = told.live;
        this.layout = told.layout;
        this.update();
        break;
      case "offer":
        this.queue = this.queue.then(() => this.answer(told)).catch((error: unknown) => {
          // A description that this browser does not take: the next offer may be better.
          console.error(error);
        });
        break;
      case "paused":
        if (told.paused) this.paused.add(told.mid);
        else this.paused.delete(told.mid);
        this.update();
        break;
      case "said":
        this.options.said?.({ from: told.from, topic: told.topic, text: told.text });
        break;
      case "error":
        console.warn(`the server says: ${told.detail}`);
        break;
      case "refused": {
        // What passes is tried again when the socket closes.
        const problem = new Problem(told.status, told.detail);
        if (problem.isPassing && told.status !== 409) this.resume = undefined;
        else this.become({ name: "refused", status: told.status, reason: told.detail });
        this.dropConnection();
        break;
      }
    }
  }

  private async answer(offer: { number: number; fresh: boolean; sdp: string }): Promise<void> {
    if (offer.fresh || !this.pc) {
      this.dropConnection();
      this.pc = this.connect();
    }
    const { pc } = this;
    await pc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    const answer = await pc.createAnswer();
    await pc.setLocalDescription({ ...answer, sdp: askForLostSound(answer.sdp ?? "") });
    if (pc !== this.pc) return;
    this.send({ type: "answer", number: offer.number, sdp: pc.localDescription?.sdp });
    this.update();
  }

  private connect(): RTCPeerConnection {
    const configuration: RTCConfiguration = { iceServers: this.servers, bundlePolicy: "max-bundle" };
    const pc = this.options.connect?.(configuration) ?? new RTCPeerConnection(configuration);
    const channel = pc.createDataChannel("room", ROOM_CHANNEL);
    channel.onmessage = ({ data }) => {
      if (channel === this.channel) this.hear(JSON.parse(String(data)) as Told);
    };
    this.channel = channel;
    pc.addEventListener("icecandidate", ({ candidate }) => {
      if (candidate && pc === this.pc) this.send({ type: "candidate", candidate });
    });
    pc.addEventListener("connectionstatechange", () => {
      if (pc !== this.pc) return;
      clearTimeout(this.patience);
      const lost = pc.connectionState === "disconnected" || pc.connectionState === "failed";
      if (lost) this.patience = setTimeout(() => this.send({ type: "restart-ice" }), PATIENCE_MS);
    });
    return pc;
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** What is known of the others, with the media that came so far. */
  private update(): void {
    const receivers = new Map((this.pc?.getTransceivers() ?? []).map((t) => [t.mid, t.receiver.track]));
    this.members = members(this.told, {
      self: this.id, speaking: this.speaking, paused: this.paused, media: (mid) => receivers.get(mid) ?? null,
    });
    this.options.changed(this);
  }

  private become(state: SessionState): void {
    this.state = state;
    this.options.changed(this);
  }

  private dropConnection(): void {
    clearTimeout(this.patience);
    this.pc?.close();
    this.pc = null;
    this.channel = null;
    this.paused.clear();
    this.shown.clear();
  }

  private drop(): void {
    this.dropConnection();
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }
}

/** The room as the server told it, seen by one of its members. Pure. */
export function members<Media>(
  told: ToldMember[],
  known: { self: string; speaking: string | null; paused: ReadonlySet<string>; media: (mid: string) => Media },
): (Omit<Member, "tracks"> & { tracks: (Omit<MemberTrack, "media"> & { media: Media | null })[] })[] {
  return told.map(({ tracks, ...member }) => ({
    ...member,
    self: member.id === known.self,
    speaking: member.id === known.speaking,
    tracks: tracks.map((track) => ({
      ...track,
      paused: track.mid !== null && known.paused.has(track.mid),
      media: track.mid === null ? null : known.media(track.mid),
    })),
  }));
}
