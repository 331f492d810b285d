// The few things every page does with its document.

/** The element a page cannot do without. */
export function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** The page's subject: the last segment of `/watch/{room}`, `/vod/{recording}` … */
export function subject(): string {
  return decodeURIComponent(location.pathname.replace(/\/+$/, "").split("/").pop() ?? "");
}

/** `?token=…`, or `#token=…`, which never reaches a server's log. */
export function token(): string | undefined {
  return new URLSearchParams(location.hash.slice(1)).get("token") ??
    new URLSearchParams(location.search).get("token") ?? undefined;
}

/** What a link to another page of ours must carry; in the hash, which no server logs. */
export function carriedToken(): string {
  const carried = token();
  return carried ? `#token=${encodeURIComponent(carried)}` : "";
}

/**
 * Where a private room's media is: the token stands in the path, for a player sends no header with what it
 * loads. What everybody may see stays where every cache has it already.
 */
export function mediaPath(path: string, isPrivate: boolean): string {
  const carried = token();
  return isPrivate && carried ? `/with/${encodeURIComponent(carried)}${path}` : path;
}

/** A server's `detail` as a sentence. */
export function sentence(detail: string): string {
  const text = detail.trim();
  return text && text[0]!.toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

/** Runs `task` again and again; it returns the wait until its next turn. `now()` does not wait. */
export function repeat(task: () => Promise<number>): { now: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = false;
  let again = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    const wait = await task().catch((error: unknown) => {
      console.error(error);
      return FALLBACK_WAIT_MS;
    });
    running = false;
    timer = setTimeout(run, again ? 0 : wait);
    again = false;
  };
  void run();
  // A hidden page is throttled: when it is seen again, what it shows must be true at once.
  document.addEventListener("visibilitychange", () => document.hidden || void run());
  return { now: () => void run() };
}

const FALLBACK_WAIT_MS = 3_000;

/** Copies, and says so on the button for a moment. */
export async function copy(text: string, button: HTMLElement, done = "Copied"): Promise<void> {
  const label = button.querySelector("span") ?? button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = done;
  } catch {
    // No clipboard outside a secure context: let people copy by hand.
    label.textContent = "Press Ctrl+C";
    const field = button.parentElement?.querySelector("input");
    if (field) field.hidden = false;
    field?.select();
  }
  setTimeout(() => (label.textContent = before), 1_800);
}
