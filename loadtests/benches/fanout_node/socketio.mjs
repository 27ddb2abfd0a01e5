// Socket.IO over WebSocket: for each line read, one message to every client. Prints as ws.mjs does.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const size = Number(process.argv[2]);
const head = '42["event",""]'.length;
const text = "x".repeat(size - head);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], pingInterval: 3_600_000, perMessageDeflate: false });
http.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(http.address().port));
createInterface({ input: process.stdin })
  .on("line", () => {
    io.emit("event", text);
    setImmediate(() => console.log(io.of("/").sockets.size));
  })
  .on("close", () => process.exit(0));
