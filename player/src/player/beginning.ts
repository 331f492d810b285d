// The first seconds of a broadcast, when playlists have parts but not yet a whole segment.
//
// hls.js calls such a playlist empty. Where one rendition has its first segment and another has
// not, it even starts them apart, and then loads the same parts hundreds of times a second.
// So a beginning broadcast is played once every rendition has a segment.

const ASK_MS = 150;

/** The URIs of all media playlists that a multivariant playlist names, made absolute. */
export function mediaPlaylists(multivariant: string, base: string): string[] {
  const lines = multivariant.split(/\r?\n/);
  const uris = lines.flatMap((line, index) => {
    if (line.startsWith("#EXT-X-MEDIA:")) return /[:,]URI="([^"]+)"/.exec(line)?.[1] ?? [];
    return line.startsWith("#EXT-X-STREAM-INF:") ? lines.slice(index + 1).find((next) => next && !next.startsWith("#")) ?? [] : [];
  });
  return [...new Set(uris)].map((uri) => new URL(uri, base).href);
}

/** Whether hls.js finds something to play in this media playlist. */
export function hasSegment(playlist: string): boolean {
  return /^#EXTINF:/m.test(playlist);
}

/**
 * Waits until every rendition has a segment.
 * `false` when a playlist cannot be had, or `signal` says to stop.
 */
export async function begun(src: string, get: (url: string) => Promise<string | null>, signal: AbortSignal): Promise<boolean> {
  const multivariant = await get(src);
  if (multivariant === null) return false;
  let missing = mediaPlaylists(multivariant, src);
  while (missing.length > 0 && !signal.aborted) {
    const texts = await Promise.all(missing.map(get));
    if (texts.includes(null)) return false;
    missing = missing.filter((_, index) => !hasSegment(texts[index] ?? ""));
    if (missing.length > 0) await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
  return !signal.aborted;
}
