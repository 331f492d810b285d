// How tracks are sent: codec, bitrate, and what to give up first on a narrow path.

/** Good 720p30, and what an uplink of today carries. */
const VIDEO_MAX_BPS = 2_800_000;
const AUDIO_MAX_BPS = 96_000;

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
      sendEncodings: [{ maxBitrate: isVideo ? VIDEO_MAX_BPS : AUDIO_MAX_BPS }],
    });
    if (!isVideo) continue;
    track.contentHint = "motion";
    const codecs = RTCRtpSender.getCapabilities?.("video")?.codecs;
    if (codecs) transceiver.setCodecPreferences?.(ordered(codecs, wanted));
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

/** By then the browser has measured the path. */
const SETTLED_MS = 10_000;

async function prefer(sender: RTCRtpSender, what: "maintain-resolution" | "maintain-framerate"): Promise<void> {
  const parameters = sender.getParameters() as RTCRtpSendParameters & { degradationPreference?: string };
  parameters.degradationPreference = what;
  await sender.setParameters(parameters).catch(() => {
    // Not every browser knows it; the default is good, too.
  });
}

/** Moves a running connection over to other tracks, without a new negotiation. */
export async function replaceTracks(pc: RTCPeerConnection, stream: MediaStream): Promise<boolean> {
  for (const kind of ["audio", "video"] as const) {
    const track = stream.getTracks().find((candidate) => candidate.kind === kind) ?? null;
    const sender = pc.getTransceivers().find((t) => t.receiver.track.kind === kind)?.sender;
    if (!sender) {
      if (track) return false;
      continue;
    }
    if (track?.kind === "video") track.contentHint = "motion";
    await sender.replaceTrack(track);
  }
  return true;
}
