// `?source=clock`: a picture that tells the time to people and to machines, and a beep a second.

import { COLUMNS, encode } from "../sdk/barcode";

const WIDTH = 1280;
const HEIGHT = 720;
const FPS = 30;
/** High enough for a 360p rendition to keep it sharp. */
const STRIP = 72;

export async function openClock(): Promise<MediaStream> {
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) throw new Error("this browser has no canvas");
  draw(context, Date.now());
  // A worker's timer goes on at full rate when the page is hidden.
  const ticker = new Worker(new URL("./ticker.ts", import.meta.url), { type: "module" });
  ticker.onmessage = () => draw(context, Date.now());
  ticker.postMessage(1000 / FPS);
  const stream = canvas.captureStream(FPS);
  for (const track of await beep()) stream.addTrack(track);
  return stream;
}

function draw(context: CanvasRenderingContext2D, now: number): void {
  const turn = (now % 4000) / 4000;
  context.fillStyle = "#16120f";
  context.fillRect(0, STRIP, WIDTH, HEIGHT - STRIP);

  const centerX = WIDTH / 2;
  const centerY = HEIGHT * 0.36;
  for (let row = 0; row < 8; row++) {
    const radius = 190 + row * 46;
    const seats = 14 + row * 4;
    for (let seat = 0; seat <= seats; seat++) {
      const angle = (Math.PI * seat) / seats;
      const near = Math.abs(((seat / seats - turn * 1.4 + 0.2) % 1));
      context.fillStyle = near < 0.09 ? "#ee7b57" : "#4a3d33";
      context.beginPath();
      context.arc(centerX + radius * Math.cos(angle), centerY + radius * Math.sin(angle), 8, 0, 7);
      context.fill();
    }
  }
  context.fillStyle = "#f1e9dc";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = "600 92px Inter, system-ui, sans-serif";
  context.fillText(new Date(now).toISOString().slice(11, 23), centerX, centerY - 60);
  context.font = "26px Inter, system-ui, sans-serif";
  context.fillStyle = "#b8a999";
  context.fillText("UTC · Amphi test clock", centerX, centerY + 14);

  const column = WIDTH / COLUMNS;
  encode(now).forEach((white, index) => {
    context.fillStyle = white ? "#fff" : "#000";
    context.fillRect(Math.round(index * column), 0, Math.ceil(column), STRIP);
  });
}

/** A quiet beep at each full second, to hear whether lips and sound agree. */
async function beep(): Promise<MediaStreamTrack[]> {
  const audio = new AudioContext();
  const output = audio.createMediaStreamDestination();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 880;
  volume.gain.value = 0;
  tone.connect(volume).connect(output);
  tone.start();
  const schedule = () => {
    const wait = 1 - (Date.now() % 1000) / 1000;
    const at = audio.currentTime + wait;
    volume.gain.setValueAtTime(0.15, at);
    volume.gain.setValueAtTime(0, at + 0.1);
    setTimeout(schedule, wait * 1000 + 200);
  };
  schedule();
  // Without a click on the page the context may not run yet: it starts with the first one.
  if (audio.state !== "running") {
    const resume = () => void audio.resume();
    document.addEventListener("pointerdown", resume, { once: true });
    document.addEventListener("keydown", resume, { once: true });
  }
  return output.stream.getAudioTracks();
}
