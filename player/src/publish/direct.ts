// What the audience sees, for those who may direct it: the layout of the program, looked at before or not.

import type { Api } from "../sdk/api";
import { Problem } from "../sdk/problem";
import type { Member, Session } from "../sdk/session";
import { WhipSession } from "../sdk/whip";
import { sentence } from "../ui/dom";

/** A layout's name as a person says it. */
export function layoutTitle(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Who may arrange the program. */
export function mayDirect(role: Member["role"] | undefined): boolean {
  return role === "host" || role === "producer";
}

/** The card of the page; it shows itself to who may use it. */
export class Direct {
  private readonly select = this.find<HTMLSelectElement>("select");
  private readonly monitor = this.find<HTMLVideoElement>("video");
  private readonly look = this.find<HTMLButtonElement>("#look");
  private readonly take = this.find<HTMLButtonElement>("#take");
  private readonly trouble = this.find<HTMLElement>("[role=alert]");
  private asked = false;
  private isLive = false;
  /** Plays the preview while there is one. */
  private playing: WhipSession | null = null;

  constructor(
    private readonly card: HTMLElement,
    private readonly room: string,
    private readonly api: Api,
    private readonly token: string | undefined,
  ) {
    this.select.addEventListener("change", () => void this.attempt(() => this.choose(this.select.value)));
    this.look.addEventListener("click", () => void this.attempt(() => (this.playing ? this.close() : this.open())));
    this.take.addEventListener("click", () => void this.attempt(() => this.api.take(this.room)));
  }

  show(session: Session): void {
    const own = session.members.find((member) => member.self);
    this.card.hidden = !mayDirect(own?.role);
    this.isLive = session.live;
    this.look.disabled = !this.isLive;
    if (this.playing && (this.card.hidden || !session.live)) this.stop();
    if (this.card.hidden) return;
    if (!this.asked) void this.list(session);
    // What is looked at is chosen here, and nobody else's choice.
    if (document.activeElement !== this.select && !this.playing) this.select.value = session.layout;
  }

  private find<T extends Element>(selector: string): T {
    return this.card.querySelector(selector) as T;
  }

  private async list(session: Session): Promise<void> {
    this.asked = true;
    try {
      const names = await this.api.layouts();
      this.select.replaceChildren(...names.map((name) => new Option(layoutTitle(name), name)));
      this.select.value = session.layout;
    } catch {
      // Asked again with the next news of the room.
      this.asked = false;
    }
  }

  private choose(layout: string): Promise<unknown> {
    return this.playing ? this.api.preview(this.room, { layout }) : this.api.direct(this.room, { layout });
  }

  private async open(): Promise<void> {
    const { whep } = await this.api.preview(this.room, { layout: this.select.value });
    const stream = new MediaStream();
    const prepare = (pc: RTCPeerConnection) => {
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.ontrack = ({ track }) => stream.addTrack(track);
    };
    this.playing = await WhipSession.open(prepare, { endpoint: whep, token: this.token });
    this.monitor.srcObject = stream;
    this.tell();
  }

  private async close(): Promise<void> {
    this.stop();
    await this.api.endPreview(this.room);
  }

  private stop(): void {
    this.playing?.close();
    this.playing = null;
    this.monitor.srcObject = null;
    this.tell();
  }

  private tell(): void {
    const isOpen = this.playing !== null;
    this.look.textContent = isOpen ? "Close preview" : "Look first";
    this.monitor.hidden = this.take.hidden = !isOpen;
  }

  private async attempt(act: () => Promise<unknown>): Promise<void> {
    this.look.disabled = true;
    try {
      await act();
      this.complain("");
    } catch (error) {
      this.complain(error instanceof Problem ? sentence(error.message) : String(error));
    } finally {
      this.look.disabled = !this.isLive;
    }
  }

  private complain(text: string): void {
    this.trouble.textContent = text;
    this.trouble.hidden = text === "";
  }
}
