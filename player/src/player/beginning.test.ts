import { expect, test } from "vitest";
import { begun, mediaPlaylists } from "./beginning";

const MULTIVARIANT = `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="b/audio.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"

b/720p.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"
b/360p.m3u8
`;
const BASE = "https://amphi.test/live/demo/";

test("a multivariant playlist names its media playlists", () => {
  expect(mediaPlaylists(MULTIVARIANT, `${BASE}index.m3u8`)).toEqual([
    `${BASE}b/audio.m3u8`, `${BASE}b/720p.m3u8`, `${BASE}b/360p.m3u8`,
  ]);
});

test("a broadcast has begun when the last rendition has a segment", async () => {
  const asked: string[] = [];
  const get = async (url: string) => {
    asked.push(url.replace(BASE, ""));
    if (url.endsWith("index.m3u8")) return MULTIVARIANT;
    const late = url.includes("audio") && asked.length < 6;
    return late ? "#EXTM3U\n#EXT-X-PART:DURATION=0.2,URI=\"0.0.m4s\"\n" : "#EXTM3U\n#EXTINF:2,\n0.m4s\n";
  };
  expect(await begun(`${BASE}index.m3u8`, get, new AbortController().signal)).toBe(true);
  expect(asked.slice(1, 4)).toEqual(["b/audio.m3u8", "b/720p.m3u8", "b/360p.m3u8"]);
  expect(asked.slice(4)).toEqual(["b/audio.m3u8", "b/audio.m3u8"]);
});

test("a playlist that is gone, or a page that left, ends the wait", async () => {
  expect(await begun(BASE, async () => null, new AbortController().signal)).toBe(false);
  expect(await begun(BASE, async () => MULTIVARIANT, AbortSignal.abort())).toBe(false);
});
