// Deploys with the real program against a real anvil, and uses what it printed: `node deploy.mjs PATH_OF_SMARTMESH`.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createPublicClient, createWalletClient, encodePacked, http, isAddressEqual } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const here = dirname(fileURLToPath(import.meta.url));
const program = process.argv[2];
// The first account of every anvil.
const KEY = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
const CHAIN = 31_455;

function fail(why) {
  throw new Error(why);
}

const artifact = (name) => JSON.parse(readFileSync(join(here, 'artifacts', `${name}.json`), 'utf8'));

async function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Deployed code with the places of immutables blanked. */
function blank(code, { immutableReferences }) {
  const bytes = Buffer.from(code.slice(2), 'hex');
  for (const places of Object.values(immutableReferences)) {
    for (const { start, length } of places) bytes.fill(0, start, start + length);
  }
  return bytes;
}

const bin = join(here, 'node_modules/@foundry-rs', readdirSync(join(here, 'node_modules/@foundry-rs')).find((n) => n.startsWith('anvil-')), 'bin');
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
const anvil = spawn(join(bin, readdirSync(bin)[0]), ['--port', `${port}`, '--hardfork', 'osaka', '--chain-id', `${CHAIN}`, '--silent'], { stdio: ['ignore', 'ignore', 'inherit'] });
const folder = mkdtempSync(join(tmpdir(), 'smartmesh-deploy-'));
try {
  const client = createPublicClient({ transport: http(url, { retryCount: 60, retryDelay: 50 }) });
  await client.getChainId();
  const key = join(folder, 'key');
  writeFileSync(key, `${KEY}\n`, { mode: 0o600 });
  const run = (rpc, ...more) => execFileSync(program, ['chain', 'deploy', '--rpc', rpc, '--key', key, ...more], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const made = JSON.parse(run(url, '--json'));
  if (made.chain_id !== CHAIN || made.block !== 1) fail(`not what was deployed: ${JSON.stringify(made)}`);
  for (const [member, name] of [['smt', 'SMT'], ['conditions', 'Conditions'], ['channels', 'Channels'], ['chequebook', 'Chequebook'], ['rewards', 'Rewards']]) {
    const code = await client.getCode({ address: made[member] });
    const want = artifact(name);
    if (!code || !blank(code, want).equals(blank(want.deployedBytecode, want))) fail(`${name} at ${made[member]} is not the artifact`);
  }
  const read = (name, member, functionName, args = []) => client.readContract({ address: made[member], abi: artifact(name).abi, functionName, args });
  const account = privateKeyToAccount(KEY);
  const supply = 3_141_592_653n * 10n ** 18n;
  if ((await read('SMT', 'smt', 'balanceOf', [account.address])) !== supply) fail('the supply is not with its holder');
  if (!isAddressEqual(await read('Channels', 'channels', 'conditions'), made.conditions)) fail('Channels judges by other conditions');
  if (!isAddressEqual(await read('Rewards', 'rewards', 'channels'), made.channels)) fail('Rewards pays for other channels');
  if (!isAddressEqual(await read('Rewards', 'rewards', 'smt'), made.smt)) fail('Rewards pays in another token');

  // What was deployed works: a channel is opened through the token.
  const wallet = createWalletClient({ account, transport: http(url) });
  const data = encodePacked(['address', 'address', 'uint16', 'uint32', 'uint8'], ['0x0000000000000000000000000000000000000011', account.address, 0x0405, 0, 1]);
  const hash = await wallet.writeContract({ chain: null, address: made.smt, abi: artifact('SMT').abi, functionName: 'depositTo', args: [made.channels, 5n, data] });
  const { status } = await client.waitForTransactionReceipt({ hash });
  if (status !== 'success' || (await read('SMT', 'smt', 'balanceOf', [made.channels])) !== 5n) fail('no channel was opened');

  // Refusals say why, and send nothing.
  const refused = (why, rpc = url) => {
    try {
      run(rpc);
    } catch (error) {
      if (error.stderr.includes(why)) return;
      fail(`refused for another reason: ${error.stderr}`);
    }
    fail(`not refused: ${why}`);
  };
  const before = await client.getTransactionCount({ address: account.address });
  refused('no answer', `http://127.0.0.1:${await freePort()}`);
  writeFileSync(key, `${'11'.repeat(32)}\n`);
  refused('may take up to');
  writeFileSync(key, 'not a key\n');
  refused('no valid mnemonic');
  if ((await client.getTransactionCount({ address: account.address })) !== before) fail('something was sent');
  console.log(`deployment against anvil: five contracts in ${await client.getBlockNumber()} blocks, a channel opened, three refusals`);
} finally {
  anvil.kill();
  rmSync(folder, { recursive: true });
}
