// What a test does in a page that plays the program by WHEP; `addClock` (clock.mjs) comes first.

/** Plays the program, reads its clock, and keeps what it sees in `window.program`. */
export async function play(endpoint) {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  const program = { pc, late: [], started: performance.now(), firstFrame: null };
  window.program = program;
  const stream = new MediaStream();
  const video = Object.assign(document.createElement("video"), { autoplay: true, width: 640, srcObject: stream });
  document.body.append(video);
  video.requestVideoFrameCallback(() => { program.firstFrame = performance.now() - program.started; });
  pc.ontrack = ({ track }) => stream.addTrack(track);
  // By the wall clock, as it was drawn: the pages' own clocks drift apart.
  window.readClock(video, (drawn) => program.late.push(Date.now() - drawn), 10);
  pc.addTransceiver("video", { direction: "recvonly" });
  pc.addTransceiver("audio", { direction: "recvonly" });
  await pc.setLocalDescription();
  const response = await fetch(endpoint, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
  if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`);
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  return response.headers.get("location");
}

/** What the page's connection received so far. */
export function received() {
  return window.program.pc.getStats().then((stats) => {
    const found = {};
    stats.forEach((stat) => {
      if (stat.type === "inbound-rtp") found[stat.kind] = stat;
    });
    const { audio, video } = found;
    return {
      frames: video?.framesDecoded ?? 0, freezes: video?.freezeCount ?? 0, frozen: video?.totalFreezesDuration ?? 0,
      height: video?.frameHeight ?? 0, decoder: video?.decoderImplementation, lost: video?.packetsLost ?? 0,
      energy: audio?.totalAudioEnergy ?? 0, concealed: audio?.concealedSamples ?? 0, samples: audio?.totalSamplesReceived ?? 0,
    };
  });
}
