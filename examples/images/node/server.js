const app = require('express')();
app.get('/', (q, r) => r.json({ hello: 'node', version: process.version }));
const server = app.listen(3000, '0.0.0.0', () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
