import { expect, test } from "vitest";
import { COLUMNS, decode, encode } from "./barcode";

const paint = (bits: boolean[], low = 0, high = 255) => bits.map((white) => (white ? high : low));

test("a time comes back through any contrast that an encoder leaves", () => {
  for (const time of [0, 1, 1_795_212_345_678, 2 ** 47 - 1]) {
    expect(encode(time)).toHaveLength(COLUMNS);
    expect(decode(paint(encode(time)))).toBe(time);
    expect(decode(paint(encode(time), 40, 180))).toBe(time);
  }
});

test("a picture without a barcode has no time", () => {
  expect(decode(new Array(COLUMNS).fill(0))).toBeNull();
  expect(decode(new Array(COLUMNS).fill(255))).toBeNull();
  expect(decode(Array.from({ length: COLUMNS }, (_, i) => i))).toBeNull();
  expect(decode([1, 2, 3])).toBeNull();
});

test("one wrong column is noticed, wherever it is", () => {
  const bits = encode(1_795_212_345_678);
  for (let i = 0; i < COLUMNS; i++) {
    const damaged = bits.map((bit, index) => (index === i ? !bit : bit));
    expect(decode(paint(damaged))).toBeNull();
  }
});
