// Hears sooner than ICE that the other side fell silent. Pure: fed with a byte counter.

/** A receiver sends feedback many times a second: this long without any is a lost path. */
const SILENT_MS = 2_500;
/** Samples that must have grown first: a server that never sends feedback is no lost path. */
const REGULAR = 4;

/** What changed with this sample. */
export type Beat = "silent" | "back" | null;

export class Heartbeat {
  private bytes = 0;
  private grownAt = 0;
  private regular = 0;
  private silent = false;

  /** `bytes`: all that was received so far. To be called about twice a second. */
  sample(now: number, bytes: number): Beat {
    if (bytes !== this.bytes) {
      this.bytes = bytes;
      this.grownAt = now;
      this.regular++;
      const wasSilent = this.silent;
      this.silent = false;
      return wasSilent ? "back" : null;
    }
    if (this.regular < REGULAR) this.regular = 0;
    if (this.regular < REGULAR || this.silent || now - this.grownAt < SILENT_MS) return null;
    this.silent = true;
    return "silent";
  }
}
