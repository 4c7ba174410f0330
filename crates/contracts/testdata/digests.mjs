// Writes digests.json: EIP-712 vectors by viem, with the types written by hand from docs/contracts.md, "Signatures".
// Needs viem 2.57.20 (contracts/package.json; `npm ci` there). Run: node crates/contracts/testdata/digests.mjs
// Licence of the vectors: that of this repository.
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(new URL('../../../contracts/package.json', import.meta.url))
const { hashTypedData, hashStruct } = require('viem')

const PER_TYPE = 20

const CONTRACTS = {
  Smt: {
    name: 'SmartMesh Token',
    types: {
      Permit: 'address owner,address spender,uint256 value,uint256 nonce,uint256 deadline',
      Transfer: 'address from,address to,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline',
      Approve: 'address from,address spender,uint256 value,uint256 fee,address agent,uint256 nonce,uint256 deadline',
      Deposit:
        'address from,address target,uint256 value,bytes data,uint256 fee,address agent,uint256 nonce,uint256 deadline',
      Cancel: 'address from,uint256 nonce,uint256 fee,address agent,uint256 deadline',
    },
  },
  Conditions: { name: 'SmartMesh Conditions', types: { Receipt: 'bytes32 message' } },
  Channels: {
    name: 'SmartMesh Channels',
    types: {
      State:
        'bytes32 channel,uint32 epoch,address payer,uint64 seq,uint96 paid,bytes32 root,uint96 locked,uint40 lastExpiry,bytes32 tip,uint64 unit,uint32 max',
      Withdraw:
        'bytes32 channel,uint32 epoch,address party,uint96 amount,address to,address agent,uint96 fee,uint40 expiry',
      CoopClose:
        'bytes32 channel,uint32 epoch,uint96 lowAmount,uint96 highAmount,address lowTo,address highTo,address agent,uint96 fee,uint40 deadline',
      Close:
        'bytes32 channel,uint32 epoch,address closer,bool unknown,bytes32 own,bytes32 partner,address agent,uint96 fee,uint40 deadline',
      Mandate:
        'bytes32 channel,uint32 epoch,address party,bytes32 state,address agent,uint96 fee,uint40 deadline',
      Release: 'bytes32 channel,uint32 epoch,address payer,bytes32 leaf',
      Deposit:
        'bytes32 channel,uint32 epoch,bool high,bytes32 locatorLow,bytes32 locatorHigh,address owner,uint96 amount,address agent,uint96 fee,uint256 nonce,uint40 deadline',
    },
  },
  Chequebook: {
    name: 'SmartMesh Chequebook',
    types: {
      Cheque:
        'bytes32 book,uint64 index,uint96 increment,uint96 total,bytes32 previous,address beneficiary,uint96 cumulative',
      CashOrder: 'bytes32 book,bytes32 cheque,address to,address agent,uint96 fee,uint40 deadline',
      Lock: 'bytes32 book,address beneficiary,uint96 amount,uint40 until,uint40 deadline',
      Thaw: 'bytes32 book,uint40 deadline',
      Withdraw: 'bytes32 book,address to,address agent,uint96 fee,uint40 deadline',
    },
  },
}

let counter = 0
function bytes(count) {
  let all = Buffer.alloc(0)
  while (all.length < count) {
    all = Buffer.concat([all, createHash('sha256').update(`smartmesh digests ${counter++}`).digest()])
  }
  return all.subarray(0, count)
}

// The first vector of each type has all members zero, the second all at their largest, the others random ones.
function value(type, round) {
  const fill = (count) => (round === 0 ? Buffer.alloc(count) : round === 1 ? Buffer.alloc(count, 0xff) : bytes(count))
  if (type === 'bool') return round === 0 ? false : round === 1 ? true : bytes(1)[0] % 2 === 1
  if (type === 'bytes') return '0x' + fill(round === 0 ? 0 : round === 1 ? 111 : bytes(1)[0]).toString('hex')
  if (type === 'address') return '0x' + fill(20).toString('hex')
  if (type === 'bytes32') return '0x' + fill(32).toString('hex')
  const bits = Number(type.slice('uint'.length))
  return BigInt('0x' + fill(bits / 8).toString('hex')).toString()
}

const vectors = []
for (const [contract, { name, types }] of Object.entries(CONTRACTS)) {
  for (const [primaryType, members] of Object.entries(types)) {
    const fields = members.split(',').map((member) => {
      const [type, field] = member.split(' ')
      return { name: field, type }
    })
    for (let round = 0; round < PER_TYPE; round++) {
      const chainId = round === 0 ? 1 : bytes(6).readUIntBE(0, 6)
      const verifyingContract = '0x' + bytes(20).toString('hex')
      const shown = {}
      const message = {}
      for (const { name, type } of fields) {
        shown[name] = value(type, round)
        message[name] = type.startsWith('uint') ? BigInt(shown[name]) : shown[name]
      }
      const typed = { primaryType, types: { [primaryType]: fields }, message }
      const domain = { name, version: '1', chainId, verifyingContract }
      vectors.push({
        contract,
        type: primaryType,
        chainId,
        verifyingContract,
        message: shown,
        structHash: hashStruct({ data: message, primaryType, types: typed.types }),
        digest: hashTypedData({ ...typed, domain }),
      })
    }
  }
}
const lines = vectors.map((vector) => JSON.stringify(vector)).join(',\n')
writeFileSync(new URL('digests.json', import.meta.url), `[\n${lines}\n]\n`)
console.log(`${vectors.length} vectors`)
