#!/bin/sh
# Everything that must hold for the contracts, from a clean clone: artifacts are what the sources compile to, tests
# pass on them, no gas figure rose.
set -eu
cd "$(dirname "$0")"
[ -d node_modules/solc ] || npm ci --no-audit --no-fund
node build.mjs --check
forge=$(ls node_modules/@foundry-rs/forge-*/bin/forge* | head -n 1)
mkdir -p out
"$forge" test --offline
node gas.mjs --check
node vectors.mjs --check
