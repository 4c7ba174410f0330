// Compiles every contract of src/ with the pinned solc and fixed settings into artifacts/<Name>.json.
// With --check: compiles and compares with what is committed.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const solc = createRequire(import.meta.url)('solc');

/** Contracts that are deployed, with the optimiser's runs. */
export const CONTRACTS = ['SMT', 'Conditions', 'Channels', 'Chequebook', 'Rewards'];
export const SETTINGS = {
  evmVersion: 'osaka',
  viaIR: true,
  optimizer: { enabled: true, runs: 200 },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  remappings: ['@openzeppelin/=node_modules/@openzeppelin/'],
};

function load(path) {
  return readFileSync(join(here, path), 'utf8');
}

/** Compiles `files` (paths below contracts/); `sources` may hold changed texts. Returns solc's output. */
export function compile(files, sources = {}) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(files.map((f) => [f, { content: sources[f] ?? load(f) }])),
    settings: {
      ...SETTINGS,
      outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object', 'evm.deployedBytecode.immutableReferences', 'storageLayout'] } },
    },
  };
  const read = [];
  const output = JSON.parse(
    solc.compile(JSON.stringify(input), {
      import: (path) => {
        const local = path.startsWith('@') ? `node_modules/${path}` : path;
        if (!existsSync(join(here, local))) return { error: `not found: ${path}` };
        read.push(local);
        return { contents: sources[local] ?? load(local) };
      },
    }),
  );
  const errors = (output.errors ?? []).filter((e) => e.severity === 'error');
  if (errors.length > 0) throw new Error(errors.map((e) => e.formattedMessage).join('\n'));
  return output;
}

/** SHA-256 over all our sources, names and contents in order. */
export function sourceHash() {
  const hash = createHash('sha256');
  for (const dir of ['src', 'src/interfaces']) {
    for (const file of readdirSync(join(here, dir)).filter((f) => f.endsWith('.sol')).sort()) {
      hash.update(`${dir}/${file}\n${load(`${dir}/${file}`)}\n`);
    }
  }
  return hash.digest('hex');
}

function artifacts() {
  const output = compile(CONTRACTS.filter((n) => existsSync(join(here, `src/${n}.sol`))).map((n) => `src/${n}.sol`));
  const result = {};
  for (const name of CONTRACTS) {
    const c = output.contracts[`src/${name}.sol`]?.[name];
    if (!c) continue;
    const runtime = c.evm.deployedBytecode.object;
    result[name] = {
      contractName: name,
      compiler: solc.version(),
      sourceHash: `0x${sourceHash()}`,
      abi: c.abi,
      bytecode: `0x${c.evm.bytecode.object}`,
      deployedBytecode: `0x${runtime}`,
      immutableReferences: c.evm.deployedBytecode.immutableReferences,
      storageLayout: c.storageLayout.storage.map(({ label, slot, offset, type }) => ({ label, slot, offset, type })),
    };
    const size = runtime.length / 2;
    console.log(`${name}: runtime ${size} B, creation ${c.evm.bytecode.object.length / 2} B`);
    if (size > 24576) throw new Error(`${name} is larger than EIP-170 allows`);
  }
  return result;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes('--check');
  let wrong = 0;
  for (const [name, artifact] of Object.entries(artifacts())) {
    const path = join(here, 'artifacts', `${name}.json`);
    const text = `${JSON.stringify(artifact, null, 1)}\n`;
    if (!check) writeFileSync(path, text);
    else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
      console.error(`artifacts/${name}.json is not what the sources compile to: run node build.mjs`);
      wrong += 1;
    }
  }
  process.exitCode = wrong > 0 ? 1 : 0;
}
