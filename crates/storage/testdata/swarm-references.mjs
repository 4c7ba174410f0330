// Prints the Swarm references of pattern data, computed by Swarm's own client library.
//
// Run once, in an empty folder: npm install @ethersphere/bee-js@12.1.0 && node swarm-references.mjs > swarm-references.txt
// Byte i of the pattern is (7 i + 13 (i >> 8) + 31 (i >> 16)) mod 256.
import { createRequire } from 'node:module'
const require = createRequire(process.cwd() + '/')
const { MerkleTree } = require('@ethersphere/bee-js')

const sizes = [
  0, 1, 31, 32, 33, 63, 64, 4095, 4096, 4097, 8192, 127 * 4096, 128 * 4096 - 1, 128 * 4096, 128 * 4096 + 1,
  129 * 4096, 129 * 4096 + 1, 256 * 4096, 256 * 4096 + 1, 1000000, 5000000, 128 * 128 * 4096 + 1,
]
console.log('# Swarm references (32 bytes, hex) of pattern data; see swarm-references.mjs for how and from what.')
console.log('# Source: npm @ethersphere/bee-js 12.1.0 (BSD-3-Clause) over cafe-utility 33.11.0 (MIT), class MerkleTree.')
for (const size of sizes) {
  const data = new Uint8Array(size)
  for (let i = 0; i < size; i++) data[i] = 7 * i + 13 * (i >> 8) + 31 * (i >> 16)
  const root = (await MerkleTree.root(data)).hash()
  console.log(size, Buffer.from(root).toString('hex'))
}
