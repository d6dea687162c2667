import { inspect } from 'node:util';

/**
 * A value that must not be printed. Logs, JSON, string concatenation and `util.inspect`
 * show `[secret]`.
 * Only `expose()` returns it: search for that word to find every place that handles a clear
 * secret.
 */
export class Secret<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  expose(): T {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}
