// Messages among the speakers.

/** Older ones are let go of. */
const MAX_LINES = 200;

export class Chat {
  private readonly lines: HTMLElement;

  constructor(root: HTMLElement, say: (text: string) => void) {
    const find = <T extends HTMLElement>(what: string) => {
      const found = root.querySelector<T>(what);
      if (!found) throw new Error(`the chat has no ${what}`);
      return found;
    };
    this.lines = find("ol");
    const input = find<HTMLInputElement>("input");
    find<HTMLFormElement>("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (text) say(text);
      input.value = "";
    });
  }

  add(name: string, text: string, own: boolean): void {
    const line = document.createElement("li");
    const who = document.createElement("strong");
    who.textContent = own ? "You" : name;
    line.append(who, ` ${text}`);
    this.lines.append(line);
    while (this.lines.children.length > MAX_LINES) this.lines.firstElementChild?.remove();
    this.lines.scrollTop = this.lines.scrollHeight;
  }
}
