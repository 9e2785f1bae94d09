// Bundles the extension into one file, and the licences of what is bundled into another.
import { build } from "esbuild";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const result = await build({
  entryPoints: ["src/extension.ts"],
  outfile: "build/extension.js",
  bundle: true,
  minify: true,
  external: ["vscode"],
  format: "cjs",
  platform: "node",
  target: "node18",
  metafile: true,
});

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) packages.add(found[1]);
}
const notices = [...packages].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file || !existsSync(`${folder}/${file}`)) throw new Error(`${name} comes without its licence`);
  return `${name} ${version} (${license})\n\n${readFileSync(`${folder}/${file}`, "utf8").trim()}\n`;
});
writeFileSync("build/ThirdPartyNotices.txt", notices.join(`\n${"-".repeat(80)}\n\n`));
