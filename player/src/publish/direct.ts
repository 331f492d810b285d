// What the audience sees, for those who may direct it: the layout of the program.

import type { Api } from "../sdk/api";
import { Problem } from "../sdk/problem";
import type { Member, Session } from "../sdk/session";
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
  private readonly select: HTMLSelectElement;
  private readonly trouble: HTMLElement;
  private asked = false;

  constructor(private readonly card: HTMLElement, private readonly room: string, private readonly api: Api) {
    this.select = card.querySelector("select") as HTMLSelectElement;
    this.trouble = card.querySelector("[role=alert]") as HTMLElement;
    this.select.addEventListener("change", () => void this.choose(this.select.value));
  }

  show(session: Session): void {
    const own = session.members.find((member) => member.self);
    this.card.hidden = !mayDirect(own?.role);
    if (this.card.hidden) return;
    if (!this.asked) void this.list(session);
    if (document.activeElement !== this.select) this.select.value = session.layout;
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

  private async choose(layout: string): Promise<void> {
    try {
      await this.api.direct(this.room, { layout });
      this.complain("");
    } catch (error) {
      this.complain(error instanceof Problem ? sentence(error.message) : String(error));
    }
  }

  private complain(text: string): void {
    this.trouble.textContent = text;
    this.trouble.hidden = text === "";
  }
}
