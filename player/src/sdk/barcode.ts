// A clock that survives an encoder: the time of day as 56 black and white columns.
// Drawn into the picture at the source and read at the viewer, it tells glass-to-glass latency.

/** 48 bits of milliseconds since 1970, then 8 bits of checksum. */
export const COLUMNS = 56;
const TIME_BITS = 48;
/** Not zero, so that neither a black nor a white picture is a valid time. */
const CHECK_SEED = 0x5a;

/** The columns of a time, from left to right; `true` is white. */
export function encode(epochMs: number): boolean[] {
  const bytes = timeBytes(Math.round(epochMs));
  bytes.push(checksum(bytes));
  return bytes.flatMap((byte) => Array.from({ length: 8 }, (_, bit) => (byte & (0x80 >> bit)) !== 0));
}

/**
 * The time that columns of these brightnesses (0 to 255) show.
 * `null` if there is no barcode, or if it was damaged or caught between two frames.
 */
export function decode(luma: ArrayLike<number>): number | null {
  if (luma.length !== COLUMNS) return null;
  const values = Array.from(luma);
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (high - low < MIN_CONTRAST) return null;
  const threshold = (low + high) / 2;
  const bytes = Array.from({ length: COLUMNS / 8 }, (_, byte) =>
    values.slice(byte * 8, byte * 8 + 8).reduce((sum, value) => sum * 2 + (value > threshold ? 1 : 0), 0));
  const check = bytes.pop();
  if (check !== checksum(bytes)) return null;
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}

/** Between the darkest and the brightest column; less is noise in a picture without a barcode. */
const MIN_CONTRAST = 64;

function timeBytes(time: number): number[] {
  return Array.from({ length: TIME_BITS / 8 }, (_, index) =>
    Math.floor(time / 256 ** (TIME_BITS / 8 - 1 - index)) % 256);
}

/** Each byte by a weight of its own, so that exchanged bytes show. */
function checksum(bytes: number[]): number {
  return bytes.reduce((sum, byte, index) => (sum + byte * (2 * index + 3)) % 256, CHECK_SEED);
}
