// The player's keys (space, k, m, f, arrows) work wherever on the page nothing else wants them.

const WANTS_KEYS = "a, button, input, select, textarea, summary, [contenteditable]";

/** media-chrome hears only keys pressed inside of it: hand it those of the rest of the page. */
export function keysAnywhere(controller: HTMLElement): void {
  for (const type of ["keydown", "keyup"] as const) {
    document.addEventListener(type, (event) => {
      const target = event.target;
      if (event.defaultPrevented || !(target instanceof Element)) return;
      if (controller.contains(target) || target.closest(WANTS_KEYS)) return;
      const { key, code, shiftKey, ctrlKey, metaKey, altKey } = event;
      const handed = new KeyboardEvent(type, { key, code, shiftKey, ctrlKey, metaKey, altKey, cancelable: true });
      if (!controller.dispatchEvent(handed)) event.preventDefault();
    });
  }
}
