// `/publish/{room}`: choose, preview, go live, stay live.

import { Api } from "../sdk/api";
import { Publisher } from "../sdk/publisher";
import { markScreen } from "../sdk/sdp";
import { Session } from "../sdk/session";
import type { Publishing } from "../sdk/publishing";
import { carriedToken, copy, element, sentence, subject, token } from "../ui/dom";
import { drawTheatres } from "../ui/theatre";
import { clockTime } from "../ui/time";
import { Meter } from "./meter";
import { Chat } from "./chat";
import { Direct } from "./direct";
import { Lately, STAYS_MS } from "./layers";
import { ScreenPlace, addTracks, chosenCodec, replaceTracks, sendLayers } from "./send";
import { bitrateText, sent, type Stat } from "./sent";
import { SourceError, devices, openCamera } from "./source";
import { Stage, mutedNote } from "./stage";

const room = subject();
const query = new URLSearchParams(location.search);
const fromClock = query.get("source") === "clock";

const preview = element<HTMLVideoElement>("preview");
const toggle = element<HTMLButtonElement>("toggle");
const camera = element<HTMLSelectElement>("camera");
const microphone = element<HTMLSelectElement>("microphone");
const nameField = element<HTMLInputElement>("name");
const muteAudio = element<HTMLButtonElement>("mute-audio");
const muteVideo = element<HTMLButtonElement>("mute-video");
const shareScreen = element<HTMLButtonElement>("share-screen");
const meter = new Meter(element("meter"));
const place = new ScreenPlace();
const stage = new Stage(element("stage"));
const direct = new Direct(element("direct"), room, new Api({ token: token() }), token());
const chat = new Chat(element("chat"), (text) => session?.say("chat", text));

let stream: MediaStream | null = null;
let screen: MediaStream | null = null;
let session: Session | null = null;
let lastReport: Stat[] = [];
let wakeLock: WakeLockSentinel | null = null;
const lately = new Lately();
let choosesAgain: number | undefined;

const publisher = new Publisher({
  get endpoint() {
    return endpoint();
  },
  token: token(),
  prepare: async (pc) => {
    if (!stream) return;
    await addTracks(pc, stream, chosenCodec(location.search));
    place.add(pc, chosenCodec(location.search));
    await place.show(screen);
    if (isHidden()) await replaceTracks(pc, stream, true);
  },
  describe: (sdp) => markScreen(sdp, place.mids),
  changed: show,
});

main();

function main(): void {
  element("room").textContent = room;
  document.title = `${room} · Go live · Amphi`;
  drawTheatres();
  const watchPath = `/watch/${encodeURIComponent(room)}`;
  const link = element<HTMLInputElement>("link");
  link.value = new URL(watchPath, location.href).href;
  link.addEventListener("focus", () => link.select());
  element<HTMLAnchorElement>("open").href = watchPath + carriedToken();
  element("copy").addEventListener("click", (event) => void copy(link.value, event.currentTarget as HTMLElement));

  nameField.value = query.get("name") ?? localStorage.getItem("amphi.name") ?? "";
  nameField.addEventListener("change", () => localStorage.setItem("amphi.name", nameField.value));

  toggle.addEventListener("click", () => (isOn(publisher.state) ? publisher.stop() : publisher.start()));
  element("retry").addEventListener("click", () => void openSource());
  for (const select of [camera, microphone]) select.addEventListener("change", () => void openSource());
  navigator.mediaDevices?.addEventListener?.("devicechange", () => void listDevices());
  muteAudio.addEventListener("click", () => mute(muteAudio));
  muteVideo.addEventListener("click", () => mute(muteVideo));

  addEventListener("beforeunload", (event) => {
    if (isOn(publisher.state)) event.preventDefault();
  });
  shareScreen.addEventListener("click", () => void (screen ? stopSharing() : startSharing()));
  shareScreen.hidden = !navigator.mediaDevices?.getDisplayMedia;
  addEventListener("pagehide", () => {
    publisher.stop();
    session?.leave();
  });
  document.addEventListener("visibilitychange", () => void keepAwake());
  setInterval(() => void measure(), 1_000);
  show(publisher.state);
  void openSource();
  attend();
}

/** Sees and hears the others, on air or not. */
function attend(): void {
  session = new Session({
    endpoint: `/rtc/${encodeURIComponent(room)}`,
    token: token(),
    name: shownName(),
    identity: query.get("identity") ?? identity(),
    changed: showRoom,
    said: ({ from, topic, text }) => {
      const name = session?.members.find((member) => member.id === from)?.name ?? "Someone";
      if (topic === "chat") chat.add(name, text, from === session?.id);
    },
  });
  session.join();
}

function showRoom(room: Session): void {
  document.documentElement.dataset["attending"] = room.state.name;
  stage.show(room);
  direct.show(room);
  const others = room.members.filter((member) => !member.self);
  element("alone").hidden = others.length > 0;
  element("stage").hidden = others.length === 0;
  element("chat").hidden = room.state.name !== "joined";
  const trouble = element("stage-trouble");
  const own = room.members.find((member) => member.self);
  trouble.textContent = room.state.name === "refused" ? sentence(room.state.reason)
    : room.state.name === "reconnecting" ? "Your connection to the others is lost. Trying again…"
    : mutedNote(own?.muted ?? []);
  trouble.hidden = trouble.textContent === "";
  // Taken out of the room: to publish again is their own decision.
  if (room.state.name === "refused" && room.state.status === 403 && isOn(publisher.state)) publisher.stop();
  void chooseLayers();
}

/** Pictures are encoded as large as somebody shows this one, and small ones while somebody plays it. */
async function chooseLayers(): Promise<void> {
  const own = session?.members.find((member) => member.self);
  const camera = own?.tracks.find((track) => track.source === "camera");
  if (!publisher.pc || !camera) return;
  const height = lately.of(camera.height, performance.now());
  clearTimeout(choosesAgain);
  if (height > camera.height) choosesAgain = window.setTimeout(() => void chooseLayers(), STAYS_MS);
  await sendLayers(publisher.pc, chosenCodec(location.search), { players: camera.players, height });
}

async function startSharing(): Promise<void> {
  try {
    screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: true });
  } catch {
    // They chose to share nothing.
    return;
  }
  screen.getVideoTracks()[0]?.addEventListener("ended", () => void stopSharing());
  await place.show(screen);
  showSharing();
}

async function stopSharing(): Promise<void> {
  screen?.getTracks().forEach((track) => track.stop());
  screen = null;
  await place.show(null);
  showSharing();
}

function showSharing(): void {
  shareScreen.setAttribute("aria-pressed", String(screen !== null));
  const label = shareScreen.querySelector("span");
  if (label) label.textContent = screen ? "Stop sharing" : "Share screen";
}

function shownName(): string | undefined {
  return query.get("name") ?? localStorage.getItem("amphi.name") ?? undefined;
}

/** The endpoint with the participant's name and identity: who comes back takes its place again. */
function endpoint(): string {
  const who = new URLSearchParams();
  const name = shownName();
  if (name) who.set("name", name);
  who.set("identity", query.get("identity") ?? identity());
  return `/whip/${encodeURIComponent(room)}?${who}`;
}

function identity(): string {
  const key = "amphi.identity";
  let known = localStorage.getItem(key);
  if (!known) {
    // Not crypto.randomUUID: an insecure page has none, and shall still say what is wrong.
    known = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem(key, known);
  }
  return known;
}

async function openSource(): Promise<void> {
  const curtain = element("curtain");
  const text = element("curtain-text");
  element("retry").hidden = true;
  if (!stream) {
    curtain.hidden = false;
    text.textContent = fromClock ? "Winding up the clock…" : "Waiting for your camera and microphone…";
  }
  // Some cameras can be opened only once.
  if (!fromClock) stream?.getTracks().forEach((track) => track.stop());
  try {
    stream = fromClock ? await (await import("./clock")).openClock() : await openCamera(choice());
  } catch (error) {
    stream = null;
    preview.srcObject = null;
    curtain.hidden = false;
    text.textContent = error instanceof SourceError ? error.message : String(error);
    element("retry").hidden = false;
    toggle.disabled = !isOn(publisher.state);
    element("meter").hidden = true;
    await listDevices();
    return;
  }
  for (const track of stream.getTracks()) {
    track.addEventListener("ended", () => void lostDevice(track));
  }
  applyMutes();
  preview.srcObject = stream;
  const hasPicture = stream.getVideoTracks().length > 0;
  preview.classList.toggle("mirrored", !fromClock && stream.getVideoTracks()[0]?.getSettings().facingMode !== "environment");
  curtain.hidden = hasPicture;
  if (!hasPicture) text.textContent = "No camera: only your sound will be sent.";
  toggle.disabled = false;
  muteAudio.disabled = stream.getAudioTracks().length === 0;
  muteVideo.disabled = !hasPicture;
  meter.listen(stream);
  if (publisher.pc) await replaceTracks(publisher.pc, stream, isHidden());
  await listDevices();
}

async function lostDevice(track: MediaStreamTrack): Promise<void> {
  if (!stream?.getTracks().includes(track)) return;
  // Unplugged: take whatever is left, rather than leave the audience with a frozen picture.
  camera.value = "";
  microphone.value = "";
  await openSource();
}

function choice() {
  return { camera: camera.value || undefined, microphone: microphone.value || undefined };
}

async function listDevices(): Promise<void> {
  if (fromClock) {
    for (const select of [camera, microphone]) select.replaceChildren(new Option("Test clock", ""));
    return;
  }
  const { cameras, microphones } = await devices();
  fill(camera, cameras, stream?.getVideoTracks()[0], "No camera");
  fill(microphone, microphones, stream?.getAudioTracks()[0], "No microphone");
}

function fill(select: HTMLSelectElement, found: MediaDeviceInfo[], used: MediaStreamTrack | undefined, none: string): void {
  select.disabled = found.length === 0;
  select.replaceChildren(...(found.length === 0
    ? [new Option(none, "")]
    : found.map((device, index) => new Option(device.label || `Device ${index + 1}`, device.deviceId))));
  const current = used?.getSettings().deviceId;
  if (current && found.some((device) => device.deviceId === current)) select.value = current;
}

function mute(button: HTMLButtonElement): void {
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  applyMutes();
  if (publisher.pc && stream) void replaceTracks(publisher.pc, stream, isHidden());
}

function isHidden(): boolean {
  return muteVideo.getAttribute("aria-pressed") === "true";
}

function applyMutes(): void {
  for (const track of stream?.getAudioTracks() ?? []) track.enabled = muteAudio.getAttribute("aria-pressed") !== "true";
  for (const track of stream?.getVideoTracks() ?? []) track.enabled = !isHidden();
}

function isOn(state: Publishing): boolean {
  return state.name !== "idle" && state.name !== "refused";
}

function show(state: Publishing): void {
  const on = isOn(state);
  const flowing = state.name === "live" || state.name === "unstable" || state.name === "restarting";
  const badge = element("state");
  const [text, tone] = badgeOf(state);
  if (badge.textContent !== text) badge.textContent = text;
  badge.dataset["tone"] = tone;
  document.documentElement.dataset["publishing"] = state.name;

  toggle.textContent = on ? "Stop" : "Go live";
  toggle.classList.toggle("on", on);
  toggle.disabled = !on && !stream;
  nameField.disabled = on;
  shareScreen.disabled = !flowing;
  if (state.name === "live") void chooseLayers();
  element("screen").classList.toggle("live", flowing);
  element("on-air").hidden = !flowing;

  const trouble = element("trouble");
  const said = state.name === "refused" ? sentence(state.reason)
    : state.name === "waiting" ? `${sentence(state.reason)} Trying again…` : "";
  if (trouble.textContent !== said) trouble.textContent = said;
  trouble.hidden = said === "";
  void keepAwake();
  if (!flowing) showSent(sent([], []));
}

function badgeOf(state: Publishing): [string, string] {
  switch (state.name) {
    case "idle": return ["Off air", ""];
    case "connecting": return [state.attempt > 0 ? "Reconnecting…" : "Connecting…", "warn"];
    case "live": return ["Live", "live"];
    case "unstable": return ["Connection unstable", "warn"];
    case "restarting":
    case "waiting": return ["Reconnecting…", "warn"];
    case "refused": return ["Not live", "warn"];
  }
}

async function measure(): Promise<void> {
  const { state, pc } = publisher;
  if ("since" in state) element("elapsed").textContent = clockTime((Date.now() - state.since) / 1000);
  if (!pc || state.name !== "live") {
    lastReport = [];
    return;
  }
  const report: Stat[] = [];
  (await pc.getStats()).forEach((stat: Stat) => report.push(stat));
  showSent(sent(lastReport, report));
  lastReport = report;
}

function showSent(now: ReturnType<typeof sent>): void {
  const put = (id: string, text: string | null) => (element(id).textContent = text ?? "–");
  put("sent-picture", now.width && now.height ? `${now.width} × ${now.height}` : null);
  put("sent-frames", now.fps === null ? null : `${Math.round(now.fps)} fps`);
  put("sent-bitrate", now.bitrate_bps === null ? null : bitrateText(now.bitrate_bps));
  put("sent-codec", now.codec);
  put("sent-rtt", now.roundTrip_ms === null ? null : `${now.roundTrip_ms} ms`);
  put("sent-limit", now.codec === null ? null : now.limitedBy === "cpu" ? "this device" : now.limitedBy ?? "nothing");
}

/** A phone must not fall asleep on stage; a hidden page loses the lock and asks again. */
async function keepAwake(): Promise<void> {
  const wanted = isOn(publisher.state) && !document.hidden;
  if (!wanted) {
    await wakeLock?.release();
    wakeLock = null;
    return;
  }
  if (wakeLock && !wakeLock.released) return;
  wakeLock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
}
