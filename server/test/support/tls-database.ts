import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, chownSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '../../src/db/database.ts';
import { NATIVE_ENV, nativeFolder, runAs } from '../../src/db/native.ts';
import { freePort } from './free-port.ts';
import { type Installation, until } from './server-process.ts';

/** A PostgreSQL that listens on 127.0.0.1 with TLS, and the certificates around it. */
export interface TlsDatabase {
  /** Of the superuser, without parameters. It contains the password. */
  url: string;
  /** The server's own certificate, self-signed, for the name db.example alone. */
  certificate: string;
  /** Another self-signed certificate for the same name. */
  otherCertificate: string;
}

/** Starts it on the embedded database of an installation, which kills it in the end. */
export async function startTlsDatabase(installation: Installation): Promise<TlsDatabase> {
  const { scratch, dataDir } = installation;
  const certificate = makeCertificate(scratch, 'server');
  const otherCertificate = makeCertificate(scratch, 'other');
  const made = await installation.open();
  const { password } = new URL(made.url);
  await made.release();

  const root = realpathSync(join(dataDir, 'postgres'));
  const data = join(root, 'data');
  const user = await runAs();
  for (const name of ['server.pem', 'server.key']) {
    execFileSync('install', ['-m', '600', join(scratch, name), join(data, name)]);
    if (user !== undefined) chownSync(join(data, name), user.uid, user.gid);
  }
  appendFileSync(join(data, 'pg_hba.conf'), 'hostssl all only_by_tls 127.0.0.1/32 scram-sha-256\n');
  const port = await freePort();
  const tls = ['ssl=on', 'ssl_cert_file=server.pem', 'ssl_key_file=server.key'].flatMap((setting) => ['-c', setting]);
  const where = ['-D', data, '-k', join(root, 'socket'), '-h', '127.0.0.1', '-p', String(port)];
  const program = join(nativeFolder(user, dataDir), 'bin', 'postgres');
  spawn(program, [...where, ...tls], { ...user, cwd: '/', env: NATIVE_ENV, stdio: 'ignore', detached: true }).unref();
  const url = `postgres://pinward:${password}@127.0.0.1:${port}/postgres`;
  await until('the database with TLS answers', () => answers(url));
  return { url, certificate, otherCertificate };
}

async function answers(url: string): Promise<boolean> {
  const db = openDatabase({ url, connections: 1 });
  return db
    .script('select')
    .then(
      () => true,
      () => false,
    )
    .finally(() => db.close());
}

function makeCertificate(folder: string, name: string): string {
  const certificate = join(folder, `${name}.pem`);
  const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=db.example', '-addext', 'subjectAltName=DNS:db.example'];
  const files = ['-keyout', join(folder, `${name}.key`), '-out', certificate];
  execFileSync('openssl', [...kind, ...subject, ...files], { stdio: 'ignore' });
  return certificate;
}
