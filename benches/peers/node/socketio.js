// A room server on Socket.IO with its Redis adapter: `socketio.js PORT REDIS-URL`.
//
// `join` (room, acknowledged) and `send` (room, body) come in, `message` (body) goes to all of the room, the sender
// included. The adapter publishes every message through Redis, as it does where several such servers run.
'use strict';

const { createServer } = require('node:http');

const { createAdapter } = require('@socket.io/redis-adapter');
const { Redis } = require('ioredis');
const { Server } = require('socket.io');

const [port, redis] = process.argv.slice(2);
const publisher = new Redis(redis);
const subscriber = publisher.duplicate();

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ['websocket'],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  // The load tool answers pings late or never.
  pingInterval: 3_600_000,
  pingTimeout: 3_600_000,
});

io.on('connection', (socket) => {
  socket.on('join', async (room, joined) => {
    await socket.join(room);
    joined?.();
  });
  socket.on('send', (room, body) => io.to(room).emit('message', body));
});

const ready = (client) => new Promise((resolve) => client.once('ready', resolve));
Promise.all([publisher, subscriber].map(ready)).then(() => {
  http.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 });
});
