// `?source=clock`: a picture that tells the time to people and to machines, and a beep a second.

import { COLUMNS, encode } from "../sdk/barcode";

const WIDTH = 1280;
const HEIGHT = 720;
const FPS = 30;
/** High enough for a 360p rendition to keep it sharp. */
const STRIP = 72;

export async function openClock(): Promise<MediaStream> {
  const { canvas, context } = newCanvas();
  const draw = painter(context);
  draw(Date.now());
  // A worker's timer goes on at full rate when the page is hidden.
  const ticker = new Worker(new URL("./ticker.ts", import.meta.url), { type: "module" });
  ticker.onmessage = () => draw(Date.now());
  ticker.postMessage(1000 / FPS);
  const stream = canvas.captureStream(FPS);
  for (const track of await beep()) stream.addTrack(track);
  return stream;
}

function newCanvas(): { canvas: HTMLCanvasElement; context: CanvasRenderingContext2D } {
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d", { alpha: false });
  if (!context) throw new Error("this browser has no canvas");
  return { canvas, context };
}

const CENTER_X = WIDTH / 2;
const CENTER_Y = HEIGHT * 0.36;

interface Seat {
  x: number;
  y: number;
  /** Where in its row, from 0 to 1. */
  along: number;
}

const SEATS: Seat[] = Array.from({ length: 8 }, (_, row) => {
  const radius = 190 + row * 46;
  const last = 14 + row * 4;
  return Array.from({ length: last + 1 }, (_, seat) => {
    const angle = (Math.PI * seat) / last;
    return { x: CENTER_X + radius * Math.cos(angle), y: CENTER_Y + radius * Math.sin(angle), along: seat / last };
  });
}).flat();

/** What draws the moment. All that never changes is drawn once: the machine has to encode, too. */
function painter(context: CanvasRenderingContext2D): (now: number) => void {
  const house = newCanvas();
  house.context.fillStyle = "#16120f";
  house.context.fillRect(0, STRIP, WIDTH, HEIGHT - STRIP);
  seats(house.context, "#4a3d33", SEATS);
  house.context.textAlign = "center";
  house.context.textBaseline = "middle";
  house.context.font = "26px Inter, system-ui, sans-serif";
  house.context.fillStyle = "#b8a999";
  house.context.fillText("UTC · Amphi test clock", CENTER_X, CENTER_Y + 14);

  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = "600 92px Inter, system-ui, sans-serif";
  const column = WIDTH / COLUMNS;
  return (now) => {
    const turn = (now % 4000) / 4000;
    context.drawImage(house.canvas, 0, 0);
    seats(context, "#ee7b57", SEATS.filter(({ along }) => Math.abs((along - turn * 1.4 + 0.2) % 1) < 0.09));
    context.fillStyle = "#f1e9dc";
    context.fillText(new Date(now).toISOString().slice(11, 23), CENTER_X, CENTER_Y - 60);
    encode(now).forEach((white, index) => {
      context.fillStyle = white ? "#fff" : "#000";
      context.fillRect(Math.round(index * column), 0, Math.ceil(column), STRIP);
    });
  };
}

function seats(context: CanvasRenderingContext2D, colour: string, which: Seat[]): void {
  context.fillStyle = colour;
  for (const { x, y } of which) {
    context.beginPath();
    context.arc(x, y, 8, 0, 7);
    context.fill();
  }
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
