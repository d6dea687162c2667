import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

export interface RawConnection {
  socket: Socket;
  /** Everything that came in so far. */
  received(): string;
  closed: Promise<void>;
}

/**
 * Opens a connection to a server, to write to it by hand. `from` is the address on this machine
 * that calls.
 */
export function rawConnection(t: TestContext, url: string, from = '127.0.0.1'): RawConnection {
  const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', localAddress: from });
  let received = '';
  socket.setEncoding('utf8').on('data', (text) => {
    received += text;
  });
  socket.on('error', () => {}); // what counts is its end
  t.after(() => socket.destroy());
  return { socket, received: () => received, closed: new Promise((resolve) => socket.once('close', () => resolve())) };
}

/** A request as it is written, with `Host`, and with `Content-Length` if it has a body. */
export function requestText(start: string, headers: Record<string, string> = {}, body = ''): string {
  const length = body === '' ? {} : { 'Content-Length': String(Buffer.byteLength(body)) };
  const lines = Object.entries({ Host: 'localhost', ...length, ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  return `${[`${start} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n${body}`;
}

/** The codes of the envelopes in a text, in their order. */
export function codesIn(text: string): number[] {
  return [...text.matchAll(/"code":(\d+)/g)].map(([, code]) => Number(code));
}
