// Mutation test: changes the sources in many small ways and asks whether the tests notice. Writes docs/mutants.md.
//   node mutate.mjs [--count N] [--jobs N] [--list] [--resume]
// --resume keeps what the page says was killed, if the sources are the same, and judges the rest again.
// Classes: comparison, arithmetic, domain field, missing check, wrong party, order of effects. Candidates are found by the rules
// below in every source; a fixed shuffle takes the same share of each class. Mutants that do not compile, or compile
// to the same bytecode, are not counted.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync, copyFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { SETTINGS, compile, sourceHash } from './build.mjs';

// Mutants are compiled with the least optimisation that the stack allows: the same meaning, in half of the time.
SETTINGS.optimizer = { enabled: true, runs: 200, details: { yul: true, yulDetails: { stackAllocation: true, optimizerSteps: 'u:' } } };

const here = dirname(fileURLToPath(import.meta.url));
const option = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};

/** Per source: the contracts it is part of, and the tests to ask first. */
const SOURCES = {
  'src/Channels.sol': [['Channels'], 'Deposit|Agreed|Close|Unlock'],
  'src/Conditions.sol': [['Conditions'], 'Conditions|Unlock|Agreed'],
  'src/SMT.sol': [['SMT'], 'Smt|Deposit'],
  'src/Chequebook.sol': [['Chequebook'], 'Chequebook'],
  'src/Rewards.sol': [['Rewards'], 'Rewards'],
  'src/Tokens.sol': [['Channels', 'Chequebook'], 'Deposit|Agreed|Unlock|Chequebook'],
  'src/Verify.sol': [['Channels', 'Conditions', 'Chequebook'], 'Agreed|Conditions|Close|Chequebook'],
};

/** [class, pattern, replacement] applied to one line of code, each match apart. */
const LINE_RULES = [
  ['comparison', / < (?!<)/g, ' <= '],
  ['comparison', / <= /g, ' < '],
  ['comparison', / > (?!>)/g, ' >= '],
  ['comparison', / >= /g, ' > '],
  ['comparison', / == /g, ' != '],
  ['comparison', / != /g, ' == '],
  ['comparison', / && /g, ' || '],
  ['comparison', / \|\| /g, ' && '],
  ['arithmetic', / \+ /g, ' - '],
  ['arithmetic', / - /g, ' + '],
  ['arithmetic', / \* /g, ' / '],
  ['arithmetic', / \/ /g, ' * '],
  ['arithmetic', / \+= /g, ' -= '],
  ['arithmetic', / -= /g, ' += '],
  ['arithmetic', / \|= /g, ' = '],
  ['arithmetic', / << /g, ' >> '],
  ['arithmetic', / \| /g, ' & '],
  ['arithmetic', /\b(\d+) (hours|days)\b/g, '2$1 $2'],
  ['domain field', /block\.chainid/g, '1'],
  ['domain field', /address\(this\)(?=\n|$|,)/g, 'address(0)'],
  ['domain field', /keccak256\("1"\)/g, 'bytes32(0)'],
  ['domain field', /\b(id|epoch|agent|fee|deadline|expiry|payer|party|closer|to|amount|value|nonce|state|leaf|unknown|target|spender|until|hash|beneficiary)(?=[,)])(?=.*)/g, '0'],
  ['missing check', /^(\s*)if \(.*\) revert [A-Za-z.]+\(.*\);$/g, '$1'],
  ['missing check', /^(\s*)_verify[A-Za-z]*\(.*\);$/g, '$1'],
  ['missing check', /^(\s*)_before\(.*\);$/g, '$1'],
  ['missing check', / lock(?= [{r])/g, ''],
  ['wrong party', /\bc\.low\b/g, 'c.high'],
  ['wrong party', /\bc\.high\b/g, 'c.low'],
  ['wrong party', /p \^ 1/g, 'p'],
  ['wrong party', /\bmsg\.sender\b/g, 'tx.origin'],
  ['wrong party', /\bb\.issuer\b/g, 'b.owner'],
  ['wrong party', /\bb\.owner\b/g, 'b.issuer'],
  ['wrong party', /\bpayee\b/g, 'payer'],
  ['wrong party', /\bcloser\b/g, 'other'],
  ['wrong party', /\bvictim\b/g, 'closer'],
  ['wrong party', /closerHigh \?/g, '!closerHigh ?'],
  ['wrong party', /payerHigh \?/g, '!payerHigh ?'],
  ['wrong party', /\bhigh\) high_/g, '!high) high_'],
];

/** [class, source, text, replacement]: changes that need a sentence of their own. */
const SPECIAL = [
  ['order of effects', 'src/Channels.sol', '        credits[token][account] = 0;\n        if (!_push(token, to, amount)) revert TokenFailed();', '        if (!_push(token, to, amount)) revert TokenFailed();\n        credits[token][account] = 0;'],
  ['order of effects', 'src/Channels.sol', '        credits[token][account] = 0;\n', ''],
  ['order of effects', 'src/Channels.sol', '        nonceBitmap[o.owner][o.nonce >> 8] = used | bit;\n', ''],
  ['order of effects', 'src/Channels.sol', '        if (word >> 252 == CLOSING) closingHash[id] = 0;\n', ''],
  ['order of effects', 'src/Channels.sol', '        words[id] = (uint256(uint24(word >> 192)) + 1) << 192;', '        words[id] = uint256(uint24(word >> 192)) << 192;'],
  ['order of effects', 'src/Channels.sol', '            side |= bit;\n', ''],
  ['order of effects', 'src/Channels.sol', '        k[HEAD] += (n - ticks) << shift;\n', ''],
  ['order of effects', 'src/Channels.sol', '                k[HEAD] |= FINED;\n', ''],
  ['order of effects', 'src/Channels.sol', '        words[id] = word;\n        emit Withdrawn', '        emit Withdrawn'],
  ['order of effects', 'src/Channels.sol', '        words[id] = word;\n        emit Deposited', '        emit Deposited'],
  ['order of effects', 'src/Channels.sol', '        closingHash[id] = _hash(k);\n        emit Updated', '        emit Updated'],
  ['order of effects', 'src/Channels.sol', '        closingHash[id] = _hash(k);\n        emit Unlocked', '        emit Unlocked'],
  ['order of effects', 'src/Channels.sol', '        closingHash[id] = _hash(k);\n        emit Redeemed', '        emit Redeemed'],
  ['order of effects', 'src/Tokens.sol', '        entered = 1;\n', ''],
  ['order of effects', 'src/Tokens.sol', '        entered = 0;\n', ''],
  ['order of effects', 'src/Tokens.sol', '        uint256 before = _balance(token);\n', '        uint256 before = 0;\n'],
  ['order of effects', 'src/SMT.sol', '        pass = 0;\n', ''],
  ['order of effects', 'src/SMT.sol', '                pass = open - (value << 160);', '                pass = open;'],
  ['order of effects', 'src/Chequebook.sol', '        s.bond = 0;\n        s.phase = FRAUDULENT;', '        s.phase = FRAUDULENT;'],
  ['order of effects', 'src/Chequebook.sol', '        claims[id][beneficiary] = 0;\n', ''],
  ['order of effects', 'src/Chequebook.sol', '        a.cashed += amount;\n        claims', '        claims'],
  ['order of effects', 'src/Chequebook.sol', '        f.pot = f.claims;\n', ''],
  ['order of effects', 'src/Chequebook.sol', '        s.funds = 0;\n        s.bond = 0;\n', '        s.bond = 0;\n'],
  ['order of effects', 'src/Chequebook.sol', '        a.locked = 0;\n        books', '        books'],
  ['order of effects', 'src/Chequebook.sol', '        if (s.phase == THAWING) s.phase = CLOSED;\n', ''],
  ['order of effects', 'src/Chequebook.sol', '        s.funds -= amount - a.locked;\n        a.locked = amount;', '        a.locked = amount;\n        s.funds -= amount - a.locked;'],
  ['order of effects', 'src/Rewards.sol', '        earned[epoch][relay] = 0;\n', ''],
  ['order of effects', 'src/Rewards.sol', '        pools[epoch] -= amount;\n', ''],
  ['order of effects', 'src/Rewards.sol', '        pools[epoch] = 0;\n', ''],
  ['order of effects', 'src/Rewards.sol', '        b.amount = 0;\n        b.thawAt = 0;', '        b.thawAt = 0;'],
  ['order of effects', 'src/Conditions.sol', '        if (registeredAt[key] != 0) return;\n', ''],
];

/** Every candidate, in the order of the sources. */
function candidates() {
  const all = [];
  for (const file of Object.keys(SOURCES)) {
    const text = readFileSync(join(here, file), 'utf8');
    const lines = text.split('\n');
    let offset = 0;
    let inside = false;
    lines.forEach((line, index) => {
      if (/^(abstract )?contract /.test(line)) inside = true;
      const code = line.trim();
      const skip = !inside || code.startsWith('//') || code.startsWith('/*') || code.startsWith('*') || code.startsWith('import')
        || code.startsWith('event') || code.startsWith('error') || code.startsWith('emit') || code.startsWith('mapping') || code.startsWith('"') || code.startsWith('for (');
      if (!skip) {
        for (const [kind, pattern, replacement] of LINE_RULES) {
          const struct = kind === 'domain field' && String(pattern).includes('beneficiary');
          if (struct && !/encode/.test(lines.slice(Math.max(0, index - 5), index + 1).join(' '))) continue;
          for (const match of line.matchAll(pattern)) {
            const single = new RegExp(pattern.source);
            const part = line.slice(match.index);
            const changed = line.slice(0, match.index) + part.replace(single, replacement);
            if (changed === line) continue;
            all.push({ kind, file, line: index + 1, was: code, is: changed.trim(), text: text.slice(0, offset) + changed + text.slice(offset + line.length) });
          }
        }
      }
      offset += line.length + 1;
    });
  }
  for (const [kind, file, was, is] of SPECIAL) {
    const text = readFileSync(join(here, file), 'utf8');
    const at = text.indexOf(was);
    if (at < 0) throw new Error(`${file} has no longer: ${was}`);
    all.push({ kind, file, line: text.slice(0, at).split('\n').length, was: was.trim().replaceAll(/\s+/g, ' '), is: is.trim().replaceAll(/\s+/g, ' ') || '(removed)', text: text.replace(was, is) });
  }
  return all;
}

/** The same mutants each time: a fixed shuffle, then classes in turn. */
function sample(all, count) {
  let state = 0x5eed;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state / 0x80000000;
  };
  const groups = new Map();
  for (const c of all) groups.set(c.kind, [...(groups.get(c.kind) ?? []), c]);
  for (const group of groups.values()) {
    for (let i = group.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [group[i], group[j]] = [group[j], group[i]];
    }
  }
  const picked = [];
  while (picked.length < count && [...groups.values()].some((g) => g.length > 0)) {
    for (const group of groups.values()) if (group.length > 0 && picked.length < count) picked.push(group.pop());
  }
  return picked;
}

function forge(dir, contracts) {
  const bin = readdirSync(join(here, 'node_modules/@foundry-rs')).find((d) => /^forge-/.test(d));
  return new Promise((done) => {
    const args = ['test', '--offline', '--fail-fast', '--match-contract', `^(${contracts})Test$`];
    execFile(
      join(here, 'node_modules/@foundry-rs', bin, 'bin/forge'),
      args,
      { cwd: here, env: { ...process.env, CONTRACTS_DIR: dir, FOUNDRY_FUZZ_RUNS: '24', FOUNDRY_INVARIANT_RUNS: '4' }, timeout: 120_000 },
      (error, stdout) => done({ passed: error === null, by: /\[FAIL.*\] ((?:test|invariant|setUp)\w*)/.exec(stdout)?.[1] ?? 'no answer' }),
    );
  });
}

const originals = {};

/** Bytecode of the unchanged sources under the same settings. */
function original(names) {
  const key = names.join(' ');
  if (!(key in originals)) {
    const { contracts } = compile(names.map((n) => `src/${n}.sol`));
    originals[key] = Object.fromEntries(names.map((n) => [n, `0x${contracts[`src/${n}.sol`][n].evm.bytecode.object}`]));
  }
  return originals[key];
}

async function judge(mutant, slot) {
  const [names, tests] = SOURCES[mutant.file];
  let output;
  try {
    output = compile(names.map((n) => `src/${n}.sol`), { [mutant.file]: mutant.text });
  } catch {
    return { verdict: 'does not compile' };
  }
  const dir = join('out', `mutant${slot}`);
  mkdirSync(join(here, dir), { recursive: true });
  let same = true;
  for (const file of readdirSync(join(here, 'artifacts'))) copyFileSync(join(here, 'artifacts', file), join(here, dir, file));
  const plain = original(names);
  for (const name of names) {
    const bytecode = `0x${output.contracts[`src/${name}.sol`][name].evm.bytecode.object}`;
    if (bytecode !== plain[name]) same = false;
    writeFileSync(join(here, dir, `${name}.json`), JSON.stringify({ bytecode }));
  }
  if (same) return { verdict: 'same bytecode' };
  let result = await forge(dir, tests);
  if (result.passed) result = await forge(dir, 'Deposit|Agreed|Close|Unlock|Conditions|Smt|Chequebook|Rewards|Invariant');
  return result.passed ? { verdict: 'survived' } : { verdict: 'killed', by: result.by };
}

/** Why a survivor is no hole in the tests: by file and changed line. */
function reasons() {
  const path = join(here, 'mutants.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
}

function report(results, total) {
  const counted = results.filter((r) => r.verdict === 'killed' || r.verdict === 'survived');
  const survivors = counted.filter((r) => r.verdict === 'survived');
  const why = reasons();
  const kinds = [...new Set(counted.map((r) => r.kind))];
  const escape = (s) => s.replaceAll('|', '\\|');
  return `# Mutants of the contracts

Made by \`contracts/mutate.mjs\`. Sources: SHA-256 \`${sourceHash()}\`. Candidates found: ${total}; taken by a fixed shuffle: ${results.length}; of
these ${results.length - counted.length} did not compile or compiled to the same bytecode. Of the ${counted.length} counted, ${counted.length - survivors.length} were killed and ${survivors.length} survived.

| class | counted | killed |
|---|---|---|
${kinds.map((k) => `| ${k} | ${counted.filter((r) => r.kind === k).length} | ${counted.filter((r) => r.kind === k && r.verdict === 'killed').length} |`).join('\n')}

## Survivors
| where | was | became | why no test notices |
|---|---|---|---|
${survivors.map((r) => `| ${r.file}:${r.line} | \`${escape(r.was)}\` | \`${escape(r.is)}\` | ${why[`${r.was} => ${r.is}`] ?? 'not explained'} |`).join('\n')}

## All
| class | where | became | outcome |
|---|---|---|---|
${counted.map((r) => `| ${r.kind} | ${r.file.slice(4)}:${r.line} | \`${escape(r.is)}\` | ${r.verdict === 'killed' ? r.by : 'survived'} |`).join('\n')}
`;
}

/** Outcomes of the committed page by place and change. */
function killedBefore() {
  const page = join(here, '..', 'docs', 'mutants.md');
  const text = process.argv.includes('--resume') && existsSync(page) ? readFileSync(page, 'utf8') : '';
  if (!text.includes(sourceHash())) return new Map();
  const rows = text.slice(text.indexOf('## All')).split('\n').filter((l) => l.startsWith('| '));
  const cells = rows.map((l) => l.replaceAll('\\|', '\u0000').split('|').map((c) => c.trim().replaceAll('\u0000', '|')));
  return new Map(cells.filter((c) => /^(test|invariant)/.test(c[4])).map((c) => [`${c[2]} ${c[3]}`, c[4]]));
}

if (isMainThread) {
  const all = candidates();
  const count = option('--count', 232);
  if (process.argv.includes('--list')) {
    for (const kind of new Set(all.map((c) => c.kind))) console.log(kind, all.filter((c) => c.kind === kind).length);
    process.exit(0);
  }
  const picked = sample(all, count);
  const results = new Array(picked.length);
  const before = killedBefore();
  const open = [];
  picked.forEach((mutant, index) => {
    const by = before.get(`${mutant.file.slice(4)}:${mutant.line} \`${mutant.is}\``);
    const { text, ...rest } = mutant;
    if (by === undefined) open.push(index);
    else results[index] = { ...rest, verdict: 'killed', by };
  });
  let next = 0;
  await Promise.all(
    Array.from({ length: option('--jobs', 2) }, (_, slot) =>
      new Promise((done, failed) => {
        const worker = new Worker(fileURLToPath(import.meta.url), { workerData: slot });
        const give = () => {
          if (next >= open.length) {
            worker.terminate();
            done();
          } else {
            const index = open[next++];
            worker.postMessage({ index, mutant: picked[index] });
          }
        };
        worker.on('message', ({ index, result }) => {
          const { text, ...mutant } = picked[index];
          results[index] = { ...mutant, ...result };
          if (result.verdict === 'survived') console.log(`survived: ${mutant.file}:${mutant.line}: ${mutant.was} => ${mutant.is}`);
          give();
        });
        worker.on('error', failed);
        give();
      })),
  );
  for (const dir of readdirSync(join(here, 'out'))) if (dir.startsWith('mutant')) rmSync(join(here, 'out', dir), { recursive: true });
  writeFileSync(join(here, '..', 'docs', 'mutants.md'), report(results, all.length));
  const counted = results.filter((r) => r.verdict === 'killed' || r.verdict === 'survived');
  const unexplained = counted.filter((r) => r.verdict === 'survived' && !(`${r.was} => ${r.is}` in reasons()));
  console.log(`${counted.length} counted, ${counted.filter((r) => r.verdict === 'killed').length} killed, ${unexplained.length} survivors without an explanation`);
  process.exitCode = counted.length < 200 || unexplained.length > 0 ? 1 : 0;
} else {
  parentPort.on('message', async ({ index, mutant }) => parentPort.postMessage({ index, result: await judge(mutant, workerData) }));
}
