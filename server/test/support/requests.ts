import { type Answer, answerOf, type Headers, type TestPlatform } from './test-platform.ts';

export interface PlainRequest {
  method?: 'DELETE' | 'GET' | 'HEAD' | 'OPTIONS' | 'PATCH' | 'POST' | 'PUT';
  path: string;
  /** A header that is undefined is left out. */
  headers?: Headers;
  /** A string is sent as it stands, an object as JSON. */
  body?: unknown;
  /** The address that the request comes from. */
  from?: string;
}

/** Sends one request with these headers and no others; `path` is the whole path. */
export async function send({ app }: Pick<TestPlatform, 'app'>, request: PlainRequest): Promise<Answer> {
  const { method = 'GET', path, headers = {}, body, from } = request;
  const sent = Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  return answerOf(
    await app.inject({
      method,
      url: path,
      headers: sent,
      ...(body === undefined ? {} : { payload: body as object | string }),
      ...(from === undefined ? {} : { remoteAddress: from }),
    }),
  );
}
