// Reads every playlist of a stream with hls-parser in strict mode, live and after its end:
//   node playlists.mjs http://127.0.0.1:8080/live/demo/index.m3u8 [seconds]
// Follows each rendition by blocking reload, full and delta, for so many seconds or to the
// end, fetches what is listed, and prints one line of figures a rendition.
import HLS from 'hls-parser';
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';

/** Longest answer to a blocking request, in ms, that is still right for a part of 200 ms. */
const LONGEST_WAIT_MS = 7000;

async function get(url, init) {
  const response = await fetch(url, { signal: AbortSignal.timeout(LONGEST_WAIT_MS), ...init });
  const body = new Uint8Array(await response.arrayBuffer());
  assert.ok(response.ok, `${response.status} for ${url}: ${new TextDecoder().decode(body)}`);
  return { response, body, text: () => new TextDecoder().decode(body) };
}

function parse(text, url) {
  HLS.setOptions({ strictMode: true, silent: true });
  try {
    return HLS.parse(text);
  } catch (error) {
    throw new Error(`${url}: ${error.message}\n${text}`, { cause: error });
  }
}

/** What no two playlists of a rendition may disagree on, and what a player counts on. */
function checkMedia(playlist, url) {
  const target = playlist.targetDuration;
  for (const [index, segment] of playlist.segments.entries()) {
    assert.equal(segment.mediaSequenceNumber, playlist.mediaSequenceBase + index, url);
    // The open segment has no duration yet.
    const open = segment.duration === undefined && index === playlist.segments.length - 1;
    assert.ok(
      open || Math.round(segment.duration) <= target,
      `${url}: ${segment.duration} s > ${target} s`,
    );
    const parts = segment.parts ?? [];
    for (const part of parts.filter((p) => !p.hint)) {
      assert.ok(part.duration <= playlist.partTargetDuration + 1e-6, `${url}: part ${part.uri}`);
    }
    const sum = parts.filter((p) => !p.hint).reduce((s, p) => s + p.duration, 0);
    if (!open && parts.length) {
      assert.ok(Math.abs(sum - segment.duration) < 1e-3, `${url}: parts of ${segment.uri}`);
    }
  }
}

/** Where a rendition stands: the newest part. */
function edge(text) {
  const hint = text.match(/#EXT-X-PRELOAD-HINT:TYPE=PART,URI="(\d+)\.(\d+)\.m4s"/);
  return hint && { msn: Number(hint[1]), part: Number(hint[2]) };
}

async function follow(url, until) {
  const seen = { playlists: 0, parts: 0, segments: 0, skipped: 0, discontinuities: 0, ended: false };
  const uris = new Set();
  let next = null;
  while (Date.now() < until && !seen.ended) {
    const query = next ? `?_HLS_msn=${next.msn}&_HLS_part=${next.part}` : '';
    const [full, delta] = await Promise.all([
      get(url + query),
      get(`${url}${query}${query ? '&' : '?'}_HLS_skip=YES`),
    ]);
    assert.match(full.response.headers.get('content-type'), /application\/vnd\.apple\.mpegurl/);
    const text = full.text();
    const playlist = parse(text, url);
    checkMedia(playlist, url);
    seen.playlists += 1;
    const update = delta.text();
    parse(update, url);
    seen.skipped += Number(update.match(/SKIPPED-SEGMENTS=(\d+)/)?.[1] ?? 0);
    seen.discontinuities = (text.match(/^#EXT-X-DISCONTINUITY$/gm) ?? []).length;
    const listed = [...text.matchAll(/#EXT-X-(PART|MAP):.*?URI="([^"]+)"/g)].map((m) => m[2]);
    const whole = text.split('\n').filter((line) => line && !line.startsWith('#'));
    const gaps = new Set(playlist.segments.filter((s) => s.gap).map((s) => s.uri));
    for (const uri of [...listed, ...whole].filter((u) => !uris.has(u) && !gaps.has(u))) {
      uris.add(uri);
      const { body } = await get(new URL(uri, url));
      assert.ok(body.length > 0, uri);
      seen[/^\d+\.m4s$/.test(uri) ? 'segments' : 'parts'] += 1;
    }
    seen.ended = playlist.endlist;
    next = edge(text);
    assert.ok(seen.ended || next, `${url}: neither a hint nor an end`);
  }
  return seen;
}

/** Checks a stream from its multivariant playlist on; the figures of each rendition. */
export async function checkStream(multivariantUrl, seconds = 10) {
  const { text, response } = await get(multivariantUrl);
  assert.equal(response.headers.get('access-control-allow-origin'), '*');
  const playlist = parse(text(), multivariantUrl);
  assert.ok(playlist.isMasterPlaylist && playlist.variants.length > 0);
  for (const variant of playlist.variants) {
    assert.ok(variant.bandwidth > 0 && variant.codecs, `${variant.uri} tells bandwidth and codecs`);
  }
  const uris = new Set(playlist.variants.flatMap((v) => [v.uri, ...v.audio.map((a) => a.uri)]));
  const until = Date.now() + seconds * 1000;
  const urls = [...uris].map((uri) => new URL(uri, multivariantUrl).href);
  const figures = await Promise.all(urls.map((url) => follow(url, until)));
  return Object.fromEntries(urls.map((url, index) => [url, figures[index]]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url, seconds] = process.argv.slice(2);
  assert.ok(url, 'say which: node playlists.mjs http://127.0.0.1:8080/live/demo/index.m3u8');
  for (const [name, seen] of Object.entries(await checkStream(url, Number(seconds ?? 10)))) {
    console.log(name, JSON.stringify(seen));
  }
}

/** The playlists of all renditions, by name. */
export async function playlists(base, room) {
  const url = `${base}/live/${room}/index.m3u8`;
  const multivariant = await (await fetch(url)).text();
  const uris = [...multivariant.matchAll(/[^"\n]*\/([^/"\n]+)\/index\.m3u8/g)];
  const texts = uris.map(async ([uri, name]) => [name, await (await fetch(new URL(uri, url))).text()]);
  return Object.fromEntries(await Promise.all(texts));
}

/** The numbers of the segments that a discontinuity is before. */
export function discontinuities(playlist) {
  const first = Number(playlist.match(/#EXT-X-MEDIA-SEQUENCE:(\d+)/)[1]);
  const found = [];
  let msn = first;
  for (const line of playlist.split("\n")) {
    if (line === "#EXT-X-DISCONTINUITY") found.push(msn);
    if (/^\d+\.m4s/.test(line)) msn += 1;
  }
  return found;
}

/** What the parts of a rendition are encoded as, one for each init segment that is listed, in order. */
export async function encodings(base, room, name) {
  const url = `${base}/live/${room}/index.m3u8`;
  const multivariant = await (await fetch(url)).text();
  const [uri] = multivariant.match(new RegExp(`[^"\\n]*/${name}/index\\.m3u8`));
  const playlist = new URL(uri, url);
  const text = await (await fetch(playlist)).text();
  const inits = [...text.matchAll(/#EXT-X-MAP:URI="([^"]+)"/g)].map(([, init]) => init);
  return Promise.all(inits.map(async (init) => {
    const bytes = Buffer.from(await (await fetch(new URL(init, playlist))).arrayBuffer());
    return {
      init,
      profile: bytes[bytes.indexOf("avcC") + 5],
      // ISO/IEC 14496-12 §12.1.3.2: behind 24 bytes of the sample entry.
      height: bytes.readUInt16BE(bytes.indexOf("avc1") + 4 + 24 + 2),
    };
  }));
}
