// The part of the control API that the pages read.

import { Problem } from "./problem";

export interface Room {
  id: string;
  /** Whether its program is on air. */
  live: boolean;
  broadcast: { id: string; started_at: string } | null;
  participants: number;
  /** How its program is arranged, and who is shown large, whoever speaks. */
  layout: string;
  pinned: string | null;
  /** The newest recording of the room that can be played. */
  last_recording: string | null;
  settings: {
    /** Who watches needs a token for the room. */
    private: boolean;
    /** RFC 3339; when its next broadcast starts by itself. */
    starts_at: string | null;
  };
}

/** What a program would be, before it is taken live. */
export interface Preview {
  layout: string;
  pinned: string | null;
  slate: string | null;
  on_stage: string[];
  /** Where it is played. */
  whep: string;
}

export interface Recording {
  id: string;
  room: string;
  /** RFC 3339. */
  started_at: string;
  duration_s: number | null;
  private: boolean;
  state: "recording" | "finishing" | "complete" | "failed";
}

export interface ApiOptions {
  /** Sent as `Authorization: Bearer`. */
  token?: string | undefined;
  /** For tests. */
  fetch?: typeof fetch;
  /** How long to wait for an answer. */
  timeoutMs?: number;
}

const TIMEOUT_MS = 8_000;

/** Calls of `/api/v1`; every failure is a {@link Problem}. */
export class Api {
  constructor(private readonly options: ApiOptions = {}) {}

  async liveRooms(): Promise<Room[]> {
    return (await this.get<{ items: Room[] }>("/api/v1/rooms?live=true")).items;
  }

  room(id: string): Promise<Room> {
    return this.get(`/api/v1/rooms/${encodeURIComponent(id)}`);
  }

  async layouts(): Promise<string[]> {
    return (await this.get<{ items: string[] }>("/api/v1/layouts")).items;
  }

  /** Arranges the program; what is not named stays as it is. */
  direct(room: string, change: { layout?: string; pinned?: string | null }): Promise<Room> {
    return this.call("PATCH", `/api/v1/rooms/${encodeURIComponent(room)}/broadcast`, change);
  }

  /** Begins a preview of the program with these changes, or shows others in it. */
  preview(room: string, change: { layout?: string; pinned?: string | null; slate?: string | null }): Promise<Preview> {
    return this.call("PUT", this.previewOf(room), change);
  }

  /** Makes the program what the preview shows. */
  take(room: string): Promise<Room> {
    return this.call("POST", `${this.previewOf(room)}/take`);
  }

  async endPreview(room: string): Promise<void> {
    await this.call("DELETE", this.previewOf(room));
  }

  private previewOf(room: string): string {
    return `/api/v1/rooms/${encodeURIComponent(room)}/broadcast/preview`;
  }

  async recordings(): Promise<Recording[]> {
    return (await this.get<{ items: Recording[] }>("/api/v1/recordings")).items;
  }

  recording(id: string): Promise<Recording> {
    return this.get(`/api/v1/recordings/${encodeURIComponent(id)}`);
  }

  private get<T>(path: string): Promise<T> {
    return this.call("GET", path);
  }

  private async call<T>(method: string, path: string, body?: object): Promise<T> {
    const { token, timeoutMs = TIMEOUT_MS } = this.options;
    const send = this.options.fetch ?? fetch;
    let response: Response;
    try {
      response = await send(path, {
        method,
        ...(body ? { body: JSON.stringify(body) } : {}),
        headers: {
          accept: "application/json, application/problem+json",
          ...(body ? { "content-type": "application/json" } : {}),
          ...(token ? { authorization: `Bearer ${token}` } : {}),
        },
        signal: AbortSignal.timeout(timeoutMs),
      });
    } catch {
      throw Problem.unreachable();
    }
    if (!response.ok) throw await Problem.from(response);
    return (response.status === 204 ? undefined : response.json()) as Promise<T>;
  }
}
