// The pages' own clock (sdk/barcode.ts) in any page: drawn into a picture, read from another.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { transformWithOxc } from "../../player/node_modules/vite/dist/node/index.js";

const BARCODE = new URL("../../player/src/sdk/barcode.ts", import.meta.url);

/** The SDK's own `encode` and `decode`. */
export async function barcode() {
  const { code } = await transformWithOxc(await readFile(BARCODE, "utf8"), fileURLToPath(BARCODE));
  return import(`data:text/javascript,${encodeURIComponent(code)}`);
}

/** Gives a page `drawClock()`, a track, and `readClock(video, each, perSecond)`; it must bypass CSP. */
export async function addClock(page) {
  const { code } = await transformWithOxc(await readFile(BARCODE, "utf8"), fileURLToPath(BARCODE));
  await page.addScriptTag({ type: "module", content: `${code}\n(${install})({ encode, decode, COLUMNS });` });
  await page.waitForFunction(() => window.drawClock);
}

function install({ encode, decode, COLUMNS }) {
  window.drawClock = (width = 1280, height = 720, fps = 30) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    let frame = 0;
    setInterval(() => {
      // Something moves, so that the encoder has work.
      context.fillStyle = `hsl(${frame++ % 360} 60% 50%)`;
      context.fillRect(0, height / 4, width, (height * 3) / 4);
      encode(performance.timeOrigin + performance.now()).forEach((white, column) => {
        context.fillStyle = white ? "#fff" : "#000";
        context.fillRect((column * width) / COLUMNS, 0, width / COLUMNS + 1, height / 4);
      });
    }, 1000 / fps);
    return canvas.captureStream(fps).getVideoTracks()[0];
  };
  // At most so often: each time the whole frame is converted.
  window.readClock = (video, each, perSecond = Infinity) => {
    let due = 0;
    const canvas = Object.assign(document.createElement("canvas"), { width: COLUMNS, height: 1 });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const next = () => video.requestVideoFrameCallback((now) => {
      next();
      if (now < due) return;
      due = Math.max(due + 1000 / perSecond, now);
      context.drawImage(video, 0, video.videoHeight * 0.04, video.videoWidth, video.videoHeight * 0.02, 0, 0, COLUMNS, 1);
      const { data } = context.getImageData(0, 0, COLUMNS, 1);
      const drawn = decode(Array.from({ length: COLUMNS }, (_, column) => data[column * 4 + 1]));
      if (drawn !== null) each(drawn, performance.timeOrigin + now - drawn);
    });
    next();
  };
}
