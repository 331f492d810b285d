// How tracks are sent: codec, bitrate, and what to give up first on a narrow path.

import { LAYERS, type Demand, type Layer, scaleOf, useful } from "./layers";

/** Good 720p30, and what an uplink of today carries. */
const VIDEO_MAX_BPS = 2_800_000;
/** Of three speakers it still fits a path of 300 kbit/s. */
const AUDIO_MAX_BPS = 64_000;
const SCREEN_MAX_BPS = 2_500_000;

/** Simulcast: the whole picture, and smaller ones for small tiles and narrow networks. */
const MAX_BPS: Record<Layer, number> = { q: 120_000, h: 500_000, f: VIDEO_MAX_BPS };

/** By which the packets of AV1 and H.264 say of which layer they are (the AV1 RTP specification, appendix A). */
const DEPENDENCY_DESCRIPTOR = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

export type VideoCodec = "h264" | "vp8" | "vp9" | "av1";

/** The codec of `?codec=`; H.264 otherwise: most devices encode it in hardware. */
export function chosenCodec(search: string): VideoCodec {
  const asked = new URLSearchParams(search).get("codec")?.toLowerCase();
  return asked === "vp8" || asked === "vp9" || asked === "av1" ? asked : "h264";
}

type Capability = Pick<RTCRtpCodec, "mimeType" | "sdpFmtpLine">;

/**
 * The browser's codecs with the wanted one first, then VP8, then the rest: nothing is left out,
 * since retransmission and redundancy are codecs of this list, too.
 */
export function ordered<T extends Capability>(codecs: T[], wanted: VideoCodec): T[] {
  const rank = ({ mimeType, sdpFmtpLine = "" }: T) => {
    const name = mimeType.split("/")[1]?.toLowerCase();
    // Whole frames split over packets; baseline, which every decoder takes.
    const awkward = name === "h264" && !sdpFmtpLine.includes("packetization-mode=1") ? 0.5 : 0;
    const baseline = name === "h264" && /profile-level-id=42e0/i.test(sdpFmtpLine) ? -0.25 : 0;
    const base = name === wanted ? 0 : name === "vp8" ? 1 : name === "h264" ? 2 : 3;
    return base + awkward + baseline;
  };
  return codecs.map((codec, index) => ({ codec, index }))
    .sort((a, b) => rank(a.codec) - rank(b.codec) || a.index - b.index)
    .map(({ codec }) => codec);
}

/** Adds the stream's tracks to a new connection. */
export async function addTracks(pc: RTCPeerConnection, stream: MediaStream, wanted: VideoCodec): Promise<void> {
  for (const track of [...stream.getAudioTracks(), ...stream.getVideoTracks()]) {
    const isVideo = track.kind === "video";
    const transceiver = pc.addTransceiver(track, {
      direction: "sendonly",
      streams: [stream],
      sendEncodings: isVideo ? encodings(wanted) : [{ maxBitrate: AUDIO_MAX_BPS }],
    });
    if (!isVideo) continue;
    track.contentHint = "motion";
    const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
    if (codecs) transceiver.setCodecPreferences?.(ordered(codecs, wanted));
    if (wanted === "av1" || wanted === "h264") offerDescriptor(transceiver);
    // Chromium else begins with a quarter of the picture and takes 8 s to grow, however wide the path.
    await prefer(transceiver.sender, "maintain-resolution");
    const settle = () => {
      if (pc.connectionState !== "connected") return;
      pc.removeEventListener("connectionstatechange", settle);
      // A talking head may get softer, but should not stutter.
      setTimeout(() => void prefer(transceiver.sender, "maintain-framerate"), SETTLED_MS);
    };
    pc.addEventListener("connectionstatechange", settle);
  }
}

/**
 * Where not even the smallest picture fits a subscriber's path, some frames of it do, by its temporal layers.
 * Of VP8 Chromium sends them by itself; of H.264 it makes as many of the larger pictures, too.
 */
function encodings(codec: VideoCodec): Encoding[] {
  return isScalable(codec)
    ? [{ maxBitrate: VIDEO_MAX_BPS, ...scalable(["f"]) }]
    : LAYERS.map((rid) => ({
      rid, scaleResolutionDownBy: scaleOf(rid), maxBitrate: MAX_BPS[rid], active: rid === "f",
      ...(codec === "h264" ? { scalabilityMode: rid === "q" ? "L1T3" : "L1T1" } : {}),
    }));
}

/** Sends spatial layers of one encoder: three encoders at once would be too much for most devices. */
function isScalable(codec: VideoCodec): boolean {
  return codec === "vp9" || codec === "av1";
}

/** W3C's "WebRTC Extensions", which not every browser knows; without it AV1 comes in one layer. */
type Extensible = RTCRtpTransceiver & {
  getHeaderExtensionsToNegotiate?(): { uri: string; direction: string }[];
  setHeaderExtensionsToNegotiate?(extensions: { uri: string; direction: string }[]): void;
};

function offerDescriptor(transceiver: Extensible): void {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  const wanted = extensions.map(({ uri, direction }) => (
    { uri, direction: uri === DEPENDENCY_DESCRIPTOR ? "sendrecv" : direction }
  ));
  transceiver.setHeaderExtensionsToNegotiate?.(wanted);
}

/** W3C's "Scalable Video Coding (SVC) Extension for WebRTC", which not every browser knows. */
type Encoding = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** Sends the layers of the camera that somebody has use of, and saves the work for the others. */
export async function sendLayers(pc: RTCPeerConnection, codec: VideoCodec, demand: Demand): Promise<void> {
  const sender = senderOf(pc, "video");
  if (!sender) return;
  // Of an unknown height all may be of use.
  const layers = useful(sender.track?.getSettings().height ?? 0, demand);
  const parameters = sender.getParameters();
  const told = parameters.headerExtensions.some(({ uri }) => uri === DEPENDENCY_DESCRIPTOR);
  let changed = false;
  for (const encoding of (parameters.encodings ?? []) as Encoding[]) {
    const wanted = !isScalable(codec) ? { active: layers.includes(encoding.rid as Layer) }
      // Layers that nobody can tell apart would only cost.
      : codec === "av1" && !told ? {} : scalable(layers);
    changed ||= Object.entries(wanted).some(([name, value]) => encoding[name as keyof Encoding] !== value);
    Object.assign(encoding, wanted);
  }
  if (!changed) return;
  await sender.setParameters(parameters).catch(() => {
    // The connection is just being closed, or the browser knows no such layers.
  });
}

/** SVC: the same pictures of one encoder, each on top of the smaller one. */
function scalable(layers: Layer[]): Encoding {
  const mode = layers.length > 1 ? `L${layers.length}T1_KEY` : "L1T1";
  return { scalabilityMode: mode, scaleResolutionDownBy: scaleOf(layers.at(-1) ?? "f") };
}

/** The camera's or the microphone's: a shared screen comes after them. */
function senderOf(pc: RTCPeerConnection, kind: "audio" | "video"): RTCRtpSender | undefined {
  return pc.getTransceivers().find((transceiver) => transceiver.receiver.track.kind === kind)?.sender;
}

/**
 * The places of a shared screen, picture and sound, which wait empty: so that sharing needs no
 * new negotiation, which WHIP does not know.
 */
export class ScreenPlace {
  private transceivers: RTCRtpTransceiver[] = [];

  add(pc: RTCPeerConnection, wanted: VideoCodec): void {
    const picture = pc.addTransceiver("video", {
      direction: "sendonly", sendEncodings: [{ maxBitrate: SCREEN_MAX_BPS }],
    });
    const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
    if (codecs) picture.setCodecPreferences?.(ordered(codecs, wanted));
    this.transceivers = [picture, pc.addTransceiver("audio", { direction: "sendonly" })];
  }

  get mids(): (string | null)[] {
    return this.transceivers.map(({ mid }) => mid);
  }

  /** Shares the stream, or nothing any more. */
  async show(stream: MediaStream | null): Promise<void> {
    const [picture, sound] = this.transceivers;
    const video = stream?.getVideoTracks()[0] ?? null;
    // Text must stay sharp, however few frames that leaves.
    if (video) video.contentHint = "detail";
    await picture?.sender.replaceTrack(video);
    await sound?.sender.replaceTrack(stream?.getAudioTracks()[0] ?? null);
  }
}

/** By then the browser has measured the path. */
const SETTLED_MS = 10_000;

async function prefer(sender: RTCRtpSender, what: "maintain-resolution" | "maintain-framerate"): Promise<void> {
  const parameters = sender.getParameters() as RTCRtpSendParameters & { degradationPreference?: string };
  parameters.degradationPreference = what;
  await sender.setParameters(parameters).catch(() => {
    // Not every browser knows it; the default is good, too.
  });
}

/**
 * Moves a running connection over to other tracks, without a new negotiation. Of a hidden camera
 * nothing is sent, so that all know it is off, where a disabled track would send black.
 */
export async function replaceTracks(pc: RTCPeerConnection, stream: MediaStream, hidden = false): Promise<boolean> {
  for (const kind of ["audio", "video"] as const) {
    const found = stream.getTracks().find((candidate) => candidate.kind === kind) ?? null;
    const track = kind === "video" && hidden ? null : found;
    const sender = senderOf(pc, kind);
    if (!sender) {
      if (found) return false;
      continue;
    }
    if (track?.kind === "video") track.contentHint = "motion";
    await sender.replaceTrack(track);
  }
  return true;
}
