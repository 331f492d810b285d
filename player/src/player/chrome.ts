// The controls this player uses: only these are bundled.

import "media-chrome/dist/media-control-bar.js";
import "media-chrome/dist/media-controller.js";
import "media-chrome/dist/media-fullscreen-button.js";
import "media-chrome/dist/media-live-button.js";
import "media-chrome/dist/media-loading-indicator.js";
import "media-chrome/dist/media-mute-button.js";
import "media-chrome/dist/media-pip-button.js";
import "media-chrome/dist/media-play-button.js";
import "media-chrome/dist/media-time-display.js";
import "media-chrome/dist/media-time-range.js";
import "media-chrome/dist/media-volume-range.js";
import "media-chrome/dist/menu/media-rendition-menu.js";
import "media-chrome/dist/menu/media-rendition-menu-button.js";

/** The player's document: a media element and its controls. */
export function controls(kind: "live" | "recording", title: string): DocumentFragment {
  const template = document.createElement("template");
  template.innerHTML = `
<media-controller class="player" noautoseektolive ${kind === "live" ? 'defaultstreamtype="live" defaulttargetlivewindow="Infinity"' : 'defaultstreamtype="on-demand"'}>
  <hls-video slot="media" playsinline ${kind === "live" ? "autoplay muted" : 'preload="metadata"'}></hls-video>
  <media-loading-indicator slot="centered-chrome" noautohide>
    <svg slot="icon" class="spinner" viewBox="0 0 50 50" fill="none" stroke-width="4" stroke-linecap="round" aria-hidden="true"><path d="M25 7a18 18 0 0 1 18 18"/></svg>
  </media-loading-indicator>
  <button slot="centered-chrome" noautohide class="sound" type="button" hidden>
    <svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M4 9v6h4l5 4V5L8 9z"/><path d="M16 9.5l5 5m0-5l-5 5"/></svg>
    <span>Tap for sound</span>
  </button>
  <div class="bottom">
  <media-time-range></media-time-range>
  <media-control-bar>
    <media-play-button notooltip></media-play-button>
    ${kind === "live" ? "<media-live-button></media-live-button>" : ""}
    <media-mute-button notooltip></media-mute-button>
    <media-volume-range></media-volume-range>
    ${kind === "live" ? '<span class="behind" title="How far what you see is behind the live edge"></span>' : "<media-time-display showduration notoggle></media-time-display>"}
    <span class="spacer"></span>
    <media-rendition-menu-button></media-rendition-menu-button>
    <media-pip-button></media-pip-button>
    <media-fullscreen-button notooltip></media-fullscreen-button>
  </media-control-bar>
  </div>
  <media-rendition-menu anchor="auto" hidden></media-rendition-menu>
</media-controller>`;
  const controller = template.content.querySelector("media-controller");
  controller?.setAttribute("aria-label", title);
  return template.content;
}
