// Compiles every contract of src/ with the pinned solc and fixed settings into artifacts/<Name>.json.
// With --check: compiles and compares with what is committed.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const solc = createRequire(import.meta.url)('solc');

/** Contracts that are deployed. */
export const CONTRACTS = ['SMT', 'Conditions', 'Channels', 'Chequebook', 'Rewards'];
/** Contracts whose code may grow to make their calls cheaper; the others are deployed cheaply. */
const CHEAP_CALLS = ['SMT', 'Chequebook'];
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

/** Optimiser's runs for a contract: expected calls in its life, against the price of its deployment. */
export const runsOf = (name) => (CHEAP_CALLS.includes(name) ? 1_000_000 : SETTINGS.optimizer.runs);

/** Compiles `files` (paths below contracts/); `sources` may hold changed texts. Returns solc's output. */
export function compile(files, sources = {}, runs = SETTINGS.optimizer.runs) {
  const input = {
    language: 'Solidity',
    sources: Object.fromEntries(files.map((f) => [f, { content: sources[f] ?? load(f) }])),
    settings: {
      ...SETTINGS,
      optimizer: { ...SETTINGS.optimizer, runs },
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

/** A token for the tests of crates/contracts, which play it against the contracts. */
function testToken() {
  const file = 'test/support/Chameleon.sol';
  const { abi, evm } = compile([file]).contracts[file].Chameleon;
  return { contractName: 'Chameleon', abi, bytecode: `0x${evm.bytecode.object}` };
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
  const result = {};
  for (const name of CONTRACTS) {
    const file = `src/${name}.sol`;
    const c = compile([file], {}, runsOf(name)).contracts[file][name];
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
  const all = Object.entries(artifacts()).map(([name, artifact]) => [join(here, 'artifacts', `${name}.json`), artifact]);
  all.push([join(here, '../crates/contracts/testdata/chameleon.json'), testToken()]);
  for (const [path, artifact] of all) {
    const text = `${JSON.stringify(artifact, null, 1)}\n`;
    if (!check) writeFileSync(path, text);
    else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
      console.error(`${path} is not what the sources compile to: run node build.mjs`);
      wrong += 1;
    }
  }
  process.exitCode = wrong > 0 ? 1 : 0;
}
