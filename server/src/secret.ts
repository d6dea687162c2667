import { inspect } from 'node:util';

/**
 * A value that must not be printed. Logs, JSON, string concatenation and `util.inspect` show `[secret]`;
 * only `expose()` gives it, so that every place that handles one in clear can be found by that word.
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
