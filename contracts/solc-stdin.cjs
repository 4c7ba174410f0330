// Standard JSON on stdin, standard JSON on stdout: how forge calls a native compiler.
const solc = require('solc');
let input = '';
process.stdin.on('data', (chunk) => (input += chunk));
process.stdin.on('end', () => process.stdout.write(solc.compile(input)));
