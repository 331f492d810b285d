// Which layers of the camera are worth their work: those that somebody shows.

/** The smallest first, by how many times the sides of the camera's own picture are longer. */
const SCALES = { q: 4, h: 2, f: 1 };

/** By its rid. */
export type Layer = keyof typeof SCALES;

export const LAYERS = Object.keys(SCALES) as Layer[];

export const scaleOf = (layer: Layer): number => SCALES[layer];

/** As the server tells it of one's own camera. */
export interface Demand {
  players: number;
  /** The greatest height at which anybody shows it; 0 while nobody does. */
  height: number;
}

/** A picture shown a little larger than its layer still looks well; the server thinks so, too. */
const STRETCH = 1.15;

/** The layers that somebody has use of, of a camera of this height. */
export function useful(captured: number, { players, height }: Demand): Layer[] {
  if (players === 0) return ["f"];
  const enough = LAYERS.findIndex((layer) => (captured / scaleOf(layer)) * STRETCH >= height);
  // Who needs a layer may need those below in a moment, where the network gets narrow.
  return height === 0 || enough < 0 ? LAYERS : LAYERS.slice(0, enough + 1);
}

/** Who is shown small now may be large again in a moment, and a large layer takes a second to come. */
export const STAYS_MS = 10_000;

/** The greatest height of late. */
export class Lately {
  private height = 0;
  private lowerSince: number | null = null;

  /** With what it is now, at this time in ms; shown by nobody it stays. */
  of(height: number, now: number): number {
    if (height >= this.height) {
      this.height = height;
      this.lowerSince = null;
    } else if (height > 0) {
      this.lowerSince ??= now;
      if (now - this.lowerSince < STAYS_MS) return this.height;
      this.height = height;
      this.lowerSince = null;
    }
    return this.height;
  }
}
