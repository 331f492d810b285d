// The microphone's level, as a bar and as a number for screen readers.

/** From silence to full scale, in decibels, as 0 to 1. */
export function loudness(rms: number): number {
  const floorDb = -60;
  const db = 20 * Math.log10(Math.max(rms, 1e-6));
  return Math.min(1, Math.max(0, 1 - db / floorDb));
}

/** Often enough for eyes: at each picture of the screen, it was more than half of what the page did. */
const PERIOD_MS = 50;
/** So much of each is looked at: 43 ms at 48 kHz. */
const SAMPLES = 2048;

/** Rises at once, falls slowly: eyes need time. */
export function ballistics(shown: number, level: number): number {
  return level > shown ? level : Math.max(level, shown - 0.09);
}

/** Shows the level of what `stream()` is now, for as long as the page lives. */
export class Meter {
  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private analyser: AnalyserNode | null = null;
  private readonly bar: HTMLElement | null;
  private shown = 0;
  private timer = 0;

  constructor(private readonly root: HTMLElement) {
    this.bar = root.querySelector("span");
  }

  /** Without a camera in use, browsers start no sound, not even to measure it, before a click. */
  private resumeAtGesture(context: AudioContext): void {
    for (const gesture of ["pointerdown", "keydown"]) {
      addEventListener(gesture, () => void context.resume(), { once: true });
    }
  }

  listen(stream: MediaStream): void {
    this.source?.disconnect();
    this.source = null;
    this.root.hidden = stream.getAudioTracks().length === 0;
    if (this.root.hidden) return;
    this.context ??= new AudioContext();
    void this.context.resume();
    this.resumeAtGesture(this.context);
    this.analyser ??= new AnalyserNode(this.context, { fftSize: SAMPLES });
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    clearInterval(this.timer);
    const samples = new Float32Array(this.analyser.fftSize);
    const draw = () => {
      if (document.hidden) return;
      this.analyser?.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
      this.shown = ballistics(this.shown, loudness(rms));
      if (this.bar) this.bar.style.clipPath = `inset(0 ${((1 - this.shown) * 100).toFixed(1)}% 0 0)`;
      this.root.setAttribute("aria-valuenow", String(Math.round(this.shown * 100)));
    };
    this.timer = window.setInterval(draw, PERIOD_MS);
  }
}
