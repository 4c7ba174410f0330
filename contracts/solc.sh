#!/bin/sh
# The pinned solc of npm, in the shape of a native compiler, for forge.
here=$(cd "$(dirname "$0")" && pwd)
case "$*" in
    *--version*)
        echo "solc, the solidity compiler commandline interface"
        echo "Version: $(node "$here/node_modules/solc/solc.js" --version)"
        ;;
    *) exec node "$here/solc-stdin.cjs" ;;
esac
