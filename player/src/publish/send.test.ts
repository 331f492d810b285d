import { expect, test } from "vitest";
import { chosenCodec, ordered } from "./send";

const BROWSER = [
  { mimeType: "video/VP8" },
  { mimeType: "video/rtx" },
  { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=0;profile-level-id=42e01f" },
  { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=1;profile-level-id=4d001f" },
  { mimeType: "video/H264", sdpFmtpLine: "packetization-mode=1;profile-level-id=42e01f" },
  { mimeType: "video/AV1" },
];

const names = (codecs: typeof BROWSER) => codecs.map((codec) => codec.mimeType.slice(6));

test("the wanted codec is first, and nothing is lost", () => {
  const h264 = ordered(BROWSER, "h264");
  expect(names(h264)).toEqual(["H264", "H264", "H264", "VP8", "rtx", "AV1"]);
  expect(h264[0]?.sdpFmtpLine).toBe("packetization-mode=1;profile-level-id=42e01f");
  expect(names(ordered(BROWSER, "vp8"))[0]).toBe("VP8");
  expect(names(ordered(BROWSER, "av1")).slice(0, 2)).toEqual(["AV1", "VP8"]);
});

test("the query chooses the codec", () => {
  const check = (search: string, expected: string) => expect(chosenCodec(search)).toBe(expected);
  check("", "h264");
  check("?codec=VP8", "vp8");
  check("?codec=av1&source=clock", "av1");
  check("?codec=theora", "h264");
});
