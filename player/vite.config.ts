import { readFile, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { type Plugin, defineConfig } from "vite";

const pages = ["", "publish", "watch", "embed", "vod", "missing"];
const dist = resolve(import.meta.dirname, "dist");

export default defineConfig({
  root: "src",
  cacheDir: resolve(import.meta.dirname, "node_modules/.vite"),
  publicDir: "../public",
  plugins: [precompress()],
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
      ["/api", "/whip", "/live", "^/vod/[^/]+/."].map((path) => [path, "http://127.0.0.1:8080"]),
    ),
  },
  test: { environment: "node", include: ["**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);

/** Lays `.br` and `.gz` beside each file that shrinks, so that the server only copies bytes. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    async closeBundle() {
      const entries = await readdir(dist, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile() && /\.(html|js|css|svg|json)$/.test(entry.name));
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
