import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { Queue } from "./queue.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT = 1;
const CLOSE = 8;

/** A server of sockets that says what a test tells it to: text frames of RFC 6455, and no more of it than they need. */
export class Server {
  #http = createServer();
  #streams = new Set();
  #sockets = new Queue();

  static async start(port = 0) {
    const server = new Server();
    server.#http.on("upgrade", (request, stream) => server.#upgrade(request, stream));
    await new Promise((done) => server.#http.listen(port, "127.0.0.1", done));
    return server;
  }

  get port() {
    return this.#http.address().port;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** The next connection. */
  socket() {
    return this.#sockets.next();
  }

  /** Connections that no test asked for. */
  get unasked() {
    return this.#sockets.rest;
  }

  async stop() {
    for (const stream of this.#streams) stream.destroy();
    await new Promise((done) => this.#http.close(done));
  }

  #upgrade(request, stream) {
    const accept = createHash("sha1")
      .update(request.headers["sec-websocket-key"] + GUID)
      .digest("base64");
    stream.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    this.#streams.add(stream);
    stream.on("close", () => this.#streams.delete(stream));
    this.#sockets.push(new ServerSocket(request.url, stream));
  }
}

class ServerSocket {
  #stream;
  #read = Buffer.alloc(0);
  #messages = new Queue();

  constructor(path, stream) {
    this.path = path;
    this.#stream = stream;
    this.closed = new Promise((done) => stream.on("close", done));
    stream.on("error", () => {});
    stream.on("data", (data) => {
      this.#read = Buffer.concat([this.#read, data]);
      while (this.#frame());
    });
  }

  /** The client's next message. */
  next() {
    return this.#messages.next();
  }

  /** The client's next message, which has to be of this type. */
  async take(type) {
    const message = await this.next();
    assert.equal(message.type, type, JSON.stringify(message));
    return message;
  }

  get unasked() {
    return this.#messages.rest;
  }

  /** All in one write, so that they arrive together. */
  send(...messages) {
    const texts = messages.map((message) => (typeof message === "string" ? message : JSON.stringify(message)));
    this.#stream.write(Buffer.concat(texts.map((text) => frame(TEXT, Buffer.from(text)))));
  }

  close(code, reason = "") {
    const number = Buffer.alloc(2);
    number.writeUInt16BE(code);
    this.#stream.end(frame(CLOSE, Buffer.concat([number, Buffer.from(reason)])));
  }

  /** As when the cable is cut. */
  cut() {
    this.#stream.destroy();
  }

  #frame() {
    const bytes = this.#read;
    if (bytes.length < 6) return false;
    let length = bytes[1] & 0x7f;
    let at = 2;
    if (length === 126) [length, at] = [bytes.readUInt16BE(2), 4];
    else if (length === 127) {
      if (bytes.length < 14) return false;
      [length, at] = [Number(bytes.readBigUInt64BE(2)), 10];
    }
    if (bytes.length < at + 4 + length) return false;
    const mask = bytes.subarray(at, at + 4);
    const payload = bytes.subarray(at + 4, at + 4 + length).map((byte, index) => byte ^ mask[index % 4]);
    this.#read = bytes.subarray(at + 4 + length);
    const opcode = bytes[0] & 0x0f;
    if (opcode === CLOSE) this.#stream.end(frame(CLOSE, payload));
    else if (opcode === TEXT) {
      const message = JSON.parse(Buffer.from(payload).toString());
      this.#messages.push(message);
      if (message.type === "close") this.close(1000);
    }
    return true;
  }
}

function frame(opcode, payload) {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = { 2: length, 4: 126, 10: 127 }[head.length];
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}
