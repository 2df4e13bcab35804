// A room server on `ws`, as its users write it: `ws.js PORT`.
//
// Every text of a client goes to all of its room, `/room/<n>`, the sender included.
'use strict';

const { WebSocket, WebSocketServer } = require('ws');

const rooms = new Map();
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  clientTracking: false,
  backlog: 4096,
});

function join(room, socket) {
  const members = rooms.get(room) ?? new Set();
  members.add(socket);
  rooms.set(room, members);
  return members;
}

function leave(room, socket) {
  const members = rooms.get(room);
  members.delete(socket);
  if (members.size === 0) rooms.delete(room);
}

server.on('connection', (socket, request) => {
  const room = request.url;
  const members = join(room, socket);
  socket.on('error', console.error);
  socket.on('close', () => leave(room, socket));
  socket.on('message', (data, isBinary) => {
    for (const member of members) {
      if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
    }
  });
});
