// Makes docs/gas.md from what forge measured (out/gas.txt, by test/Gas.t.sol) and the committed artifacts.
// With --check: fails if a figure is more than 1 % above the committed page.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, '..', 'docs', 'gas.md');

// [name, target, Raiden, Photon]; figures of the others as they published them, see the page's head.
const ROWS = [
  ['open + deposit, self', 70_000, '146,956', '92,261'],
  ['open + deposit, by agent', 80_000, '', ''],
  ['open + deposit, by allowance', 0, '146,956 (after approve 46,118)', '92,261 (after approve 30,216)'],
  ['top up, self', 48_000, '56,000', '70,764 (token callback 51,495)'],
  ['top up, by agent', 0, '', ''],
  ['withdraw', 58_000, '115,142', '83,213'],
  ['withdraw, by agent', 0, '', ''],
  ['cooperative close', 64_000, '112,270', '78,174'],
  ['close, no evidence', 0, '118,501', '33,762'],
  ['close, with evidence', 66_000, '118,501', '67,929'],
  ['close, with evidence, by agent', 0, '', ''],
  ['update', 45_000, '90,516', '63,160'],
  ['update, by a watchtower', 50_000, '224,262 (and 45,566 to claim)', '76,705'],
  ['punish, with payout', 62_000, 'none', '34,448 without payout (then settle 51,352)'],
  ['punish, with payout, by a watchtower', 75_000, 'none', ''],
  ['settle', 58_000, '108,569', '51,352 (half refunded then)'],
  ['settle 20 channels in a batch', 800_000, '', ''],
  ['unlock one leaf', 42_000, '38,619', '68,585'],
  ['unlock one leaf of 64', 0, '', ''],
  ['unlock 6 leaves', 0, '53,246', ''],
  ['unlock 64 leaves', 900_000, '', ''],
  ['redeem 256 ticks', 0, '', ''],
  ['register a secret', 44_500, '46,181', ''],
  ['register three secrets', 91_500, '96,418', ''],
  ['void a leaf', 0, '', ''],
  ['signed transfer with fee', 56_000, '', ''],
  ['signed transfer with fee, first of a nonce key', 0, '', ''],
  ['signed transfer with fee, batch of one', 0, '', ''],
  ['signed transfer with fee, batch of ten', 0, '', ''],
  ['open and fund a chequebook', 0, '', ''],
  ['cash a cheque', 60_000, '', ''],
  ['cash a cheque, first of a beneficiary', 0, '', ''],
  ['prove fraud', 0, '', ''],
];

const n = (x) => x.toLocaleString('en-US');

function measured() {
  const lines = readFileSync(join(here, 'out', 'gas.txt'), 'utf8').trim().split('\n');
  return new Map(lines.map((l) => l.split(';')).map(([k, v]) => [k, Number(v)]));
}

/** What a creation transaction costs: 21,000 + 32,000, calldata, 2 a word of init code, 200 a byte of code. */
function deployments() {
  return ['Channels', 'Conditions', 'SMT', 'Chequebook', 'Rewards'].map((name) => {
    const { bytecode, deployedBytecode } = JSON.parse(readFileSync(join(here, 'artifacts', `${name}.json`), 'utf8'));
    const bytes = Buffer.from(bytecode.slice(2), 'hex');
    const size = (deployedBytecode.length - 2) / 2;
    const calldata = bytes.reduce((sum, b) => sum + (b === 0 ? 4 : 16), 0);
    return [name, size, 53_000 + calldata + 2 * Math.ceil(bytes.length / 32) + 200 * size];
  });
}

function render(gas) {
  const rows = ROWS.map(([name, target, raiden, photon]) => {
    const used = gas.get(name);
    if (used === undefined) throw new Error(`not measured: ${name}`);
    const verdict = target === 0 ? '' : used <= target ? 'met' : `+${(((used - target) / target) * 100).toFixed(1)} %`;
    return `| ${name} | ${n(used)} | ${target === 0 ? '' : n(target)} | ${verdict} | ${raiden} | ${photon} |`;
  });
  const made = deployments();
  return `# Gas

Made by \`contracts/gas.mjs\` from \`contracts/test/Gas.t.sol\`; \`contracts/check.sh\` fails when a figure rises by more than 1 %.

Fork: **Osaka** (prices as since Prague, calldata floor of EIP-7623 included). Each figure is a whole transaction as its sender is charged: 21,000,
calldata, refunds; every account and slot cold; receivers and contracts already hold the token (SMT). solc 0.8.37, IR pipeline, 200 runs (SMT and Chequebook 1,000,000).

Beside it what others published, **under other price rules**: Raiden's development gas.json of December 2021 (after London), Photon's own table of late 2018 (before
Berlin: a storage read cost 200, and up to half of the gas was refunded). Compare with that in mind. Both need a token approval first; SMT does not.

| operation | gas | target | | Raiden | Photon |
|---|---|---|---|---|---|
${rows.join('\n')}

| contract | bytes (limit 24,576) | deployment gas |
|---|---|---|
${made.map(([name, size, gas_]) => `| ${name} | ${n(size)} | ${n(gas_)} |`).join('\n')}

Deployment is computed from the bytecode (the constructors' own work, under 30,000 except SMT's mint, is not in it). Raiden: 3,754,770 for each token; Nitro: 3,443,915.
`;
}

const gas = measured();
const text = render(gas);
if (process.argv.includes('--check')) {
  const committed = new Map(
    readFileSync(page, 'utf8')
      .split('\n')
      .filter((l) => l.startsWith('| '))
      .map((l) => l.split('|').map((f) => f.trim()))
      .map((f) => [f[1], Number(f[2].replaceAll(',', ''))]),
  );
  let worse = 0;
  for (const [name] of ROWS) {
    const was = committed.get(name);
    const is = gas.get(name);
    if (was === undefined || is > was * 1.01) {
      console.error(`${name}: ${n(is)} gas, the ledger says ${was === undefined ? 'nothing' : n(was)}`);
      worse += 1;
    }
  }
  console.log(`gas ledger: ${ROWS.length} figures, ${worse} above the limit`);
  process.exitCode = worse > 0 ? 1 : 0;
} else {
  writeFileSync(page, text);
}
