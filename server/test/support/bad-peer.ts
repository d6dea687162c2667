import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"code":0}';
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n';
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\n';
const BOMB = gzipSync(Buffer.alloc(8_000_000, ' '));
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;

/**
 * What a peer does with a connection: as soon as it is open, or with the first bytes of a request.
 */
type Act = (socket: Socket) => void;
export interface Misbehaviour {
  on: 'connection' | 'request';
  act: Act;
  fault: RegExp;
}

export const LATE = /^no complete answer within 0.5 s$/;

/**
 * Writes a piece again and again, as fast as it is read or every so many milliseconds, until the
 * connection ends.
 */
export const endless =
  (first: string, piece: string, everyMs?: number): Act =>
  (socket) => {
    const many = everyMs === undefined ? piece.repeat(Math.ceil(4_000 / piece.length)) : piece;
    const timer = setInterval(() => socket.writableLength === 0 && socket.write(many), everyMs ?? 1);
    socket.write(first);
    socket.on('close', () => clearInterval(timer));
  };
export const write =
  (text: string | Buffer): Act =>
  (socket) =>
    void socket.write(text);
export const onRequest = (act: Act, fault: RegExp): Misbehaviour => ({ on: 'request', act, fault });
export const onConnection = (act: Act, fault: RegExp): Misbehaviour => ({ on: 'connection', act, fault });

/** A flood ends by its size, or by its time on a machine that is busy. */
const flood = (first: string, piece: string, fault: string): Misbehaviour =>
  onRequest(endless(first, piece), new RegExp(`^(${fault}|no complete answer within .*)$`));

export const MISBEHAVIOURS: Record<string, Misbehaviour> = {
  'switches protocols': onRequest(write(`${SWITCHING}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n`), /^HTTP 101$/),
  'switches protocols to h2c and goes on': onRequest(
    endless(`${SWITCHING}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n`, 'x'.repeat(1_000)),
    /^HTTP 101$/,
  ),
  'switches protocols and names none': onRequest(write(`${SWITCHING}\r\n`), /./),
  'switches protocols after 100': onRequest(
    write(`HTTP/1.1 100 Continue\r\n\r\n${SWITCHING}Upgrade: x\r\nConnection: Upgrade\r\n\r\n`),
    /^HTTP 101$/,
  ),
  'upgrades with 200': onRequest(write('HTTP/1.1 200 OK\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'), LATE),
  'answers 100 for ever': flood('', 'HTTP/1.1 100 Continue\r\n\r\n', 'more than 16 answers 1xx'),
  'answers 102 for ever, slowly': onRequest(endless('', 'HTTP/1.1 102 Processing\r\n\r\n', 40), LATE),
  'answers 103 for ever': flood('', 'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n', 'more than 16 answers 1xx'),
  'sends headers without end': flood(HEAD, 'X-More: 1\r\n', 'no answer \\(HPE_HEADER_OVERFLOW\\)'),
  'sends one header without end': flood(`${HEAD}X: `, 'y', 'no answer \\(HPE_HEADER_OVERFLOW\\)'),
  'sends header bytes one by one': onRequest(endless('HTTP/1.1 200 OK\r\nX: ', 'y', 20), LATE),
  'sends one byte of the status line': onRequest(write('H'), LATE),
  'sends trailers without end': flood(`${CHUNKED}0\r\n`, 'X-More: 1\r\n', 'no answer \\(HPE_.*'),
  'sends trailers one by one': onRequest(endless(`${CHUNKED}0\r\n`, 'X: 1\r\n', 20), LATE),
  'sends chunks without end': flood(CHUNKED, '5\r\nxxxxx\r\n', 'the reply is larger than 16384 bytes'),
  'sends chunks one by one': onRequest(endless(CHUNKED, '1\r\nx\r\n', 20), LATE),
  'sends a chunk extension without end': flood(`${CHUNKED}1;`, 'x', 'no answer \\(HPE_.*'),
  'leaves out the last chunk': onRequest(write(`${CHUNKED}a\r\n{"code":0}\r\n`), LATE),
  'sends half a body': onRequest(write(`${HEAD}Content-Length: 20\r\n\r\n{"code":0}`), LATE),
  'sends a body that only the end of the connection ends': onRequest(write(`${HEAD}\r\n{"code":0}`), LATE),
  'ends its half before the answer': onRequest((socket) => socket.end(), /^no answer \(ECONNRESET\)$/),
  'ends its half in the headers': onRequest((socket) => socket.end(HEAD), /^no answer \(/),
  'ends its half in the body': onRequest((socket) => socket.end(`${CHUNKED}a\r\n{"code":0}\r\n`), /^no answer \(/),
  'reads nothing': onConnection((socket) => socket.pause(), LATE),
  'closes at once': onConnection((socket) => socket.destroy(), /^no answer \((ECONNRESET|EPIPE)\)$/),
  'closes before the answer': onRequest((socket) => socket.destroy(), /^no answer \(ECONNRESET\)$/),
  'resets before the answer': onRequest((socket) => socket.resetAndDestroy(), /^no answer \(ECONNRESET\)$/),
  'resets after the headers': onRequest((socket) => {
    socket.write(`${HEAD}Content-Length: 20\r\n\r\n`, () => setTimeout(() => socket.resetAndDestroy(), 20));
  }, /^no answer \(ECONNRESET\)$/),
  'sends garbage': onRequest(
    write(Buffer.from('\x00\xff\x16\x03\x01 no HTTP \r\n\r\n', 'latin1')),
    /^no answer \(HPE_/,
  ),
  'greets as an SMTP server': onConnection(write('220 mail ESMTP\r\n'), /^no answer \(HPE_/),
  'speaks HTTP/2': onConnection(
    write(Buffer.from('\x00\x00\x06\x04\x00\x00\x00\x00\x00', 'latin1')),
    /^no answer \(HPE_/,
  ),
  'sends a length and chunks': onRequest(
    write(`${HEAD}Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n{"code":0}`),
    /^no answer \(HPE_/,
  ),
  'sends a negative length': onRequest(write(`${HEAD}Content-Length: -1\r\n\r\n`), /^no answer \(HPE_/),
  'sends a gzip bomb': onRequest(
    write(
      Buffer.concat([Buffer.from(`${HEAD}Content-Encoding: gzip\r\nContent-Length: ${BOMB.length}\r\n\r\n`), BOMB]),
    ),
    /^the reply is not a JSON object/,
  ),
  'redirects to itself': onRequest(
    write('HTTP/1.1 307 Temporary Redirect\r\nLocation: /callbacks\r\nContent-Length: 0\r\n\r\n'),
    /^HTTP 307: redirects are not followed$/,
  ),
  'sends more than the limit': onRequest(
    write(`${HEAD}Content-Length: 20000\r\n\r\n${'x'.repeat(20_000)}`),
    /^the reply is larger than 16384 bytes$/,
  ),
  'refuses twice in one write': onRequest(
    write('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n'.repeat(2)),
    /^HTTP 500$/,
  ),
  'refuses and goes on sending': onRequest(
    endless('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n', 'x'.repeat(1_000), 20),
    /^(HTTP 500|no answer \(HPE_INVALID_CONSTANT\))$/,
  ),
};

export interface Peer {
  url: string;
  /** Undefined: it accepts every callback. */
  misbehaviour: Misbehaviour | undefined;
  open: Set<Socket>;
  close(): Promise<void>;
}

export async function startPeer(misbehaviour?: Misbehaviour): Promise<Peer> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    peer.open.add(socket);
    socket.on('error', () => {}); // the platform ended it
    socket.on('end', () => socket.destroy()); // the platform ended its half
    socket.on('close', () => peer.open.delete(socket));
    socket.resume(); // else it does not see the end
    if (peer.misbehaviour?.on === 'connection') peer.misbehaviour.act(socket);
    else socket.on('data', () => (peer.misbehaviour?.act ?? write(OK))(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const peer: Peer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/callbacks`,
    misbehaviour,
    open: new Set(),
    close() {
      for (const socket of peer.open) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return peer;
}
