import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [
    {
      // The bundler's text modules, see build.mjs; tests connect to the store directly.
      name: "modules-as-text",
      enforce: "pre",
      resolveId: (id) => (/^(string|packed):/.test(id) ? `\0text:${id}` : undefined),
      load: (id) => (id.startsWith("\0text:") ? "export default ''" : undefined),
    },
  ],
  test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 10_000 },
});
