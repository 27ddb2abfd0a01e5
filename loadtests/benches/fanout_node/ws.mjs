// `ws`: for each line read, one binary frame to every client. Prints its port first, then how many it was sent to.
import { createInterface } from "node:readline";
import { WebSocketServer } from "ws";

const size = Number(process.argv[2]);
const payload = Buffer.alloc(size, "x");
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096, perMessageDeflate: false });
server.on("listening", () => console.log(server.address().port));
createInterface({ input: process.stdin })
  .on("line", () => {
    for (const client of server.clients) client.send(payload);
    setImmediate(() => console.log(server.clients.size));
  })
  .on("close", () => process.exit(0));
