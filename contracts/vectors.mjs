// EIP-712 vectors by an independent library (viem), with the types written out by hand from docs/contracts.md.
// Writes vectors.json; with --check compares with it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getAddress, hashStruct, hashTypedData, keccak256, toHex } from 'viem';

const EACH = 20;
const path = join(dirname(fileURLToPath(import.meta.url)), 'vectors.json');

const address = 'address';
const bytes32 = 'bytes32';
const TYPES = {
  'SmartMesh Token': {
    Permit: [['owner', address], ['spender', address], ['value', 'uint256'], ['nonce', 'uint256'], ['deadline', 'uint256']],
    Transfer: [['from', address], ['to', address], ['value', 'uint256'], ['fee', 'uint256'], ['agent', address], ['nonce', 'uint256'], ['deadline', 'uint256']],
    Approve: [['from', address], ['spender', address], ['value', 'uint256'], ['fee', 'uint256'], ['agent', address], ['nonce', 'uint256'], ['deadline', 'uint256']],
    Deposit: [['from', address], ['target', address], ['value', 'uint256'], ['data', 'bytes'], ['fee', 'uint256'], ['agent', address], ['nonce', 'uint256'], ['deadline', 'uint256']],
    Cancel: [['from', address], ['nonce', 'uint256'], ['fee', 'uint256'], ['agent', address], ['deadline', 'uint256']],
  },
  'SmartMesh Channels': {
    State: [['channel', bytes32], ['epoch', 'uint32'], ['payer', address], ['seq', 'uint64'], ['paid', 'uint96'], ['root', bytes32], ['locked', 'uint96'], ['lastExpiry', 'uint40'], ['tip', bytes32], ['unit', 'uint64'], ['max', 'uint32']],
    Withdraw: [['channel', bytes32], ['epoch', 'uint32'], ['party', address], ['amount', 'uint96'], ['to', address], ['agent', address], ['fee', 'uint96'], ['expiry', 'uint40']],
    CoopClose: [['channel', bytes32], ['epoch', 'uint32'], ['lowAmount', 'uint96'], ['highAmount', 'uint96'], ['lowTo', address], ['highTo', address], ['agent', address], ['fee', 'uint96'], ['deadline', 'uint40']],
    Close: [['channel', bytes32], ['epoch', 'uint32'], ['closer', address], ['unknown', 'bool'], ['own', bytes32], ['partner', bytes32], ['agent', address], ['fee', 'uint96'], ['deadline', 'uint40']],
    Mandate: [['channel', bytes32], ['epoch', 'uint32'], ['party', address], ['state', bytes32], ['agent', address], ['fee', 'uint96'], ['deadline', 'uint40']],
    Release: [['channel', bytes32], ['epoch', 'uint32'], ['payer', address], ['leaf', bytes32]],
    Deposit: [['channel', bytes32], ['epoch', 'uint32'], ['high', 'bool'], ['locatorLow', bytes32], ['locatorHigh', bytes32], ['owner', address], ['amount', 'uint96'], ['agent', address], ['fee', 'uint96'], ['nonce', 'uint256'], ['deadline', 'uint40']],
  },
  'SmartMesh Conditions': {
    Receipt: [['message', bytes32]],
  },
  'SmartMesh Chequebook': {
    Cheque: [['book', bytes32], ['index', 'uint64'], ['increment', 'uint96'], ['total', 'uint96'], ['previous', bytes32], ['beneficiary', address], ['cumulative', 'uint96']],
    CashOrder: [['book', bytes32], ['cheque', bytes32], ['to', address], ['agent', address], ['fee', 'uint96'], ['deadline', 'uint40']],
    Lock: [['book', bytes32], ['beneficiary', address], ['amount', 'uint96'], ['until', 'uint40'], ['deadline', 'uint40']],
    Thaw: [['book', bytes32], ['deadline', 'uint40']],
    Withdraw: [['book', bytes32], ['to', address], ['agent', address], ['fee', 'uint96'], ['deadline', 'uint40']],
  },
};

let counter = 0;
const random = () => keccak256(toHex(`smartmesh vector ${counter++}`));

/** A value of a type: zero, the largest, or random, in turn. */
function value(type, round) {
  const r = random();
  if (type === 'bool') return BigInt(r) % 2n === 1n;
  if (type === 'address') return round === 0 ? getAddress(toHex(0, { size: 20 })) : getAddress(r.slice(0, 42));
  if (type === 'bytes32') return round === 0 ? toHex(0, { size: 32 }) : r;
  if (type === 'bytes') return round === 0 ? '0x' : r.slice(0, 2 + 2 * (1 + (round % 31))) + r.slice(2).repeat(round % 4);
  const bits = BigInt(type.slice(4));
  if (round === 0) return 0n;
  if (round === 1) return 2n ** bits - 1n;
  return BigInt(r) % 2n ** (round % 2 === 0 ? bits : bits / 2n);
}

const vectors = [];
for (const [name, structs] of Object.entries(TYPES)) {
  for (const [primaryType, fields] of Object.entries(structs)) {
    const types = { [primaryType]: fields.map(([field, type]) => ({ name: field, type })) };
    for (let round = 0; round < EACH; round++) {
      const domain = { name, version: '1', chainId: [1, 31337, 20180430, 137][round % 4], verifyingContract: value('address', round + 1) };
      const message = Object.fromEntries(fields.map(([field, type]) => [field, value(type, round)]));
      vectors.push({
        type: `${primaryType}(${fields.map(([field, type]) => `${type} ${field}`).join(',')})`,
        domain,
        message: Object.fromEntries(Object.entries(message).map(([k, v]) => [k, typeof v === 'bigint' ? v.toString() : v])),
        structHash: hashStruct({ data: message, primaryType, types }),
        digest: hashTypedData({ domain, types, primaryType, message }),
      });
    }
  }
}

const text = `${JSON.stringify(vectors, null, 1)}\n`;
if (process.argv.includes('--check')) {
  const same = existsSync(path) && readFileSync(path, 'utf8') === text;
  console.log(`${vectors.length} EIP-712 vectors ${same ? 'as committed' : 'differ from vectors.json'}`);
  process.exitCode = same ? 0 : 1;
} else {
  writeFileSync(path, text);
  console.log(`${vectors.length} EIP-712 vectors`);
}
