import { connect } from 'node:net';

/**
 * What came back over a plain TCP connection: the status line's number, the headers as they were
 * sent, the body.
 */
export interface RawAnswer {
  status: number;
  head: string;
  body: string;
}

/** Writes bytes to a port of this machine and reads until the other side ends the connection. */
export function exchange(port: number, bytes: string): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setEncoding('utf8');
    socket.setTimeout(5_000, () => socket.destroy(new Error('no end within 5 s')));
    socket.on('data', (chunk) => {
      received += chunk;
    });
    // A server that answers before it has read all may reset the connection after its answer.
    socket.on('error', (error) => (received === '' ? reject(error) : undefined));
    socket.on('close', () => {
      const [head = '', body = ''] = received.split('\r\n\r\n');
      resolve({ status: Number(head.split(' ')[1]), head, body });
    });
  });
}
