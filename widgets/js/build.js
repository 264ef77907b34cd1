// Bundles each view, with what it imports, into the files that Python loads. With --check, says
// which of these files are not what would be written.

import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { argv, exit } from "node:process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const OUT = join(HERE, "../varco_nats_widgets/_ui/static");
const VIEWS = [
  "channels",
  "chart",
  "choices",
  "code",
  "durations",
  "flow",
  "lanes",
  "message",
  "status",
  "table",
];

/** What is to be in the folder: texts by file name. */
async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: VIEWS.map((name) => ({ in: `src/${name}/${name}.js`, out: name })),
    outdir: OUT,
    bundle: true,
    charset: "utf8",
    format: "esm",
    target: "es2022",
    write: false,
  });
  const texts = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
  return texts.set("palette.json", await readFile(join(HERE, "src/common/palette.json"), "utf8"));
}

/** @param {string} name */
const written = (name) => readFile(join(OUT, name), "utf8").catch(() => "");

const wanted = await bundle();
const stale = (await readdir(OUT)).filter((name) => !wanted.has(name));
for (const [name, text] of wanted) if ((await written(name)) !== text) stale.push(name);
if (!argv.includes("--check")) {
  for (const name of stale) await rm(join(OUT, name), { force: true });
  for (const [name, text] of wanted) await writeFile(join(OUT, name), text);
} else if (stale.length) {
  console.error(`not as \`npm run build\` writes them: ${stale.join(", ")}`);
  exit(1);
}
