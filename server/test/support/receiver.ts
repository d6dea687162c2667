import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SANDBOX_SECRET } from './sandbox.ts';

/** A callback as it arrived. */
export interface Received {
  id: string;
  action: string;
  data: Record<string, unknown>;
  headers: IncomingHttpHeaders;
  path: string;
  /** The body as it was sent. */
  text: string;
}

/** What a merchant's server does with a callback: it may answer, or not. */
export type Answering = (received: Received, response: ServerResponse) => void;

/** A merchant's server on a real socket. */
export interface Receiver {
  url: string;
  received: Received[];
  answering: Answering;
  close(): Promise<void>;
}

export const accept: Answering = (_, response) => answer(response, 200, '{"code":0}');

export function answer(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(text);
}

export async function startReceiver(answering: Answering = accept): Promise<Receiver> {
  const server: Server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const received = { ...JSON.parse(text), headers: request.headers, path: request.url ?? '', text } as Received;
      receiver.received.push(received);
      receiver.answering(received, response);
    });
    request.on('error', () => {}); // the sender was killed
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref(); // a test that fails does not wait for it
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/callbacks`,
    received: [],
    answering,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return receiver;
}

/**
 * Whether a merchant that has this secret would accept the callback. Written from the API's
 * pages, not from the platform's source.
 */
export function isSigned({ headers, text }: Received, appId = 'sandbox_api_key', secret = SANDBOX_SECRET): boolean {
  const { data } = JSON.parse(text) as { data: Record<string, unknown> };
  const map: Record<string, string> = { appId, timestamp: headers.timestamp as string };
  for (const name in data) {
    const value = data[name];
    if (value === null) continue;
    map[name] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  let signed = '';
  for (const name of Object.keys(map).sort((a, b) => (a < b ? -1 : 1)))
    signed += `${signed && '&'}${name}=${map[name]}`;
  const expected = createHmac('sha256', Buffer.from(secret, 'utf8')).update(signed, 'utf8').digest('hex');
  return headers['sign-version'] === 'V1' && headers.timezone === 'UTC+8' && headers.signature === expected;
}
