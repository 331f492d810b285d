import { readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { type Plugin, defineConfig } from "vite";

const pages = ["", "publish", "watch", "embed", "vod", "api", "missing"];
const dist = resolve(import.meta.dirname, "dist");

export default defineConfig({
  root: "src",
  cacheDir: resolve(import.meta.dirname, "node_modules/.vite"),
  publicDir: "../public",
  plugins: [leanHls(), licenses(), precompress()],
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: "es2022",
    // Everything is a file of its own: the pages' CSP allows no data: scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    rollupOptions: {
      input: pages.map((page) => resolve(import.meta.dirname, "src", page, "index.html")),
    },
  },
  worker: { format: "es" },
  server: {
    // `npm run dev` beside `amphi serve --dev`.
    proxy: Object.fromEntries(
      ["/api/", "/with/", "/whip", "/live", "^/vod/[^/]+/."].map((path) => [path, "http://127.0.0.1:8080"]),
    ),
  },
  test: { environment: "node", include: ["**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);

/**
 * Builds hls.js from the source its package brings, without what these pages never use: DRM, ads,
 * subtitles, CMCD. A quarter of the player's size; hls.js makes its own light build by the same
 * switches, but that one lacks separate audio. The packages it names are hls.js's own, at the
 * versions it was released with.
 */
function leanHls(): Plugin {
  const source = resolve(import.meta.dirname, "node_modules/hls.js");
  const { version } = createRequire(import.meta.url)("hls.js/package.json") as { version: string };
  const switches = {
    __USE_ALT_AUDIO__: true,
    __USE_CONTENT_STEERING__: true,
    __USE_MEDIA_CAPABILITIES__: true,
    __USE_CMCD__: false,
    __USE_EME_DRM__: false,
    __USE_IFRAMES__: false,
    __USE_INTERSTITIALS__: false,
    __USE_M2TS_ADVANCED_CODECS__: false,
    __USE_SUBTITLES__: false,
    __USE_VARIABLE_SUBSTITUTION__: false,
    __IN_WORKER__: false,
    __HLS_WORKER_BUNDLE__: undefined,
    __VERSION__: version,
  };
  return {
    name: "lean-hls",
    config: () => ({
      resolve: { alias: [{ find: /^hls\.js\/dist\/hls\.mjs$/, replacement: join(source, "src/hls.ts") }] },
      define: Object.fromEntries(Object.entries(switches).map(([name, value]) => [name, JSON.stringify(value) ?? "undefined"])),
      // As its own build does: a subclass that only declares a field keeps its parent's value.
      oxc: { assumptions: { setPublicClassFields: true }, typescript: { removeClassFieldsWithoutInitializer: true } },
    }),
  };
}

/** What the bundles are made of besides our own code. */
const bundled = [
  "hls.js", "hls-video-element", "media-chrome", "custom-media-element", "media-tracks",
  "eventemitter3", "url-toolkit", "@svta/cml-id3", "@svta/cml-utils", "@fontsource/young-serif",
];

/** Gathers the licenses of what is bundled into `licenses.txt`, as they ask for. */
function licenses(): Plugin {
  return {
    name: "licenses",
    apply: "build",
    async generateBundle() {
      const texts = await Promise.all(bundled.map(async (name) => {
        const folder = resolve(import.meta.dirname, "node_modules", name);
        const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as Record<string, string>;
        const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
        const text = file ? await readFile(join(folder, file), "utf8") : "";
        return `${name} ${version}: ${license}\n\n${text}`.trim();
      }));
      this.emitFile({ type: "asset", fileName: "licenses.txt", source: texts.join(`\n\n${"-".repeat(80)}\n\n`) + "\n" });
    },
  };
}

/** Lays `.br` and `.gz` beside each file that shrinks, so that the server only copies bytes. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    async closeBundle() {
      const entries = await readdir(dist, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile() && /\.(html|js|css|svg|txt)$/.test(entry.name));
      await Promise.all(files.map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const plain = await readFile(path);
        const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
        for (const [suffix, small] of [
          ["br", brotliCompressSync(plain, quality)],
          ["gz", gzipSync(plain, { level: 9 })],
        ] as const) {
          if (small.length < plain.length) await writeFile(`${path}.${suffix}`, small);
        }
      }));
    },
  };
}
