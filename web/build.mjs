// Builds the app into dist/: the client's types from the API's description, the pages, the list of files for the service
// worker; then measures the first load and leaves every file compressed, as the node embeds and serves it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { join, relative } from 'node:path';

/** What a phone loads before it shows the first screen, compressed. */
const FIRST_LOAD_BYTES_MAX = 200 * 1024;

const bin = (name) => join('node_modules', '.bin', name);
const run = (name, ...args) => execFileSync(bin(name), args, { stdio: ['ignore', 'ignore', 'inherit'] });

mkdirSync('gen', { recursive: true });
run('openapi-typescript', 'openapi.json', '--output', 'gen/schema.d.ts');
execFileSync(bin('svelte-check'), ['--tsconfig', './tsconfig.json', '--fail-on-warnings', '--output', 'human'], { stdio: ['ignore', 'inherit', 'inherit'] });
run('vite', 'build', '--logLevel', 'warn');

const files = [];
const walk = (folder) => {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) walk(path);
    else files.push(path);
  }
};
walk('dist');

const names = files.map((path) => '/' + relative('dist', path).replaceAll('\\', '/'));
const version = createHash('sha256');
for (const path of files) version.update(path).update(readFileSync(path));
// The shell works with the node stopped: all that the app may need then, but not the village and not what is big and lazy.
const shell = names.filter((name) => !name.includes('village') && !name.endsWith('.wasm') && !name.endsWith('.html'));
const worker = readFileSync('src/shell/worker.js', 'utf8')
  .replace('__VERSION__', version.digest('hex').slice(0, 16))
  .replace('__FILES__', JSON.stringify(['/', ...shell]));
writeFileSync('dist/sw.js', worker);
files.push('dist/sw.js');

// First load: the page, what it names, and what those modules import before they run.
const first = new Set();
const load = (name) => {
  if (first.has(name)) return;
  first.add(name);
  const text = readFileSync(join('dist', name), 'utf8');
  if (name.endsWith('.html')) {
    for (const [, next] of text.matchAll(/(?:src|href)="\/([^"]+)"/g)) load(next);
  } else if (name.endsWith('.js')) {
    for (const [, next] of text.matchAll(/(?:import|from)\s*"\.\/([^"]+)"/g)) load('assets/' + next);
  } else if (name.endsWith('.css')) {
    for (const [, next] of text.matchAll(/url\(["']?\/([^"')]+)["']?\)/g)) load(next);
  }
};
load('index.html');
let bytes = 0;
for (const name of first) bytes += gzipSync(readFileSync(join('dist', name)), { level: 9 }).length;
console.log(`first load: ${first.size} files, ${bytes} bytes compressed (at most ${FIRST_LOAD_BYTES_MAX})`);
if (bytes > FIRST_LOAD_BYTES_MAX) process.exitCode = 1;

let total = 0;
for (const path of files) {
  const compressed = gzipSync(readFileSync(path), { level: 9 });
  writeFileSync(path + '.gz', compressed);
  total += compressed.length;
  rmSync(path);
}
console.log(`embedded: ${files.length} files, ${total} bytes compressed`);
