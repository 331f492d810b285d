// Publishers that are known by their colour, after every encoder on the way.

/** Each publisher's own, far enough from each other to be told after an encoder, and under the shade of a name. */
export const COLOURS = [
  [230, 20, 20], [20, 200, 20], [30, 30, 230], [230, 230, 20], [20, 210, 210],
  [220, 20, 220], [240, 130, 20], [0, 110, 250], [120, 40, 160],
];
const MOST_OFF = 60;

/** Publishes a picture of one colour, which moves a little, by WHIP; ends with the page. To be run in it. */
export function publish({ base, name, colour, bars = [], code = { left: 0, top: 0, width: 0, height: 0 } }) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const context = canvas.getContext("2d");
  let beat = 0;
  setInterval(() => {
    context.fillStyle = `rgb(${colour})`;
    context.fillRect(0, 0, 320, 180);
    bars.forEach((bar, at) => {
      context.fillStyle = bar ? "white" : "#555";
      const width = (320 * code.width) / bars.length;
      context.fillRect(320 * code.left + at * width, 180 * code.top, width, 180 * code.height);
    });
    context.fillStyle = "black";
    context.fillRect(8 * (beat++ % 10), 172, 8, 8);
  }, 125);
  return (async () => {
    const pc = new RTCPeerConnection();
    (window.publishing ??= []).push(pc);
    pc.addTransceiver(canvas.captureStream(8).getVideoTracks()[0], { direction: "sendonly", sendEncodings: [{ maxBitrate: 150_000 }] });
    await pc.setLocalDescription();
    const answer = await fetch(`${base}/whip/show?name=${name}&identity=${name}`, {
      method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" },
    });
    await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  })();
}

/** Whose colour this is; -1: nobody's. */
export function whose(seen) {
  const off = COLOURS.map((colour) => Math.hypot(...colour.map((value, at) => value - seen[at])));
  const nearest = off.indexOf(Math.min(...off));
  return off[nearest] < MOST_OFF ? nearest : -1;
}
