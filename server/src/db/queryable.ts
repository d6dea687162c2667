/** Runs statements: the pool, or one connection inside a transaction. */
export interface Queryable {
  /**
   * Runs a statement. Rows are objects, by the names of the select list.
   * `name` prepares the statement once for each connection; one name stands for one text.
   */
  query<R extends object>(name: string, text: string, values?: unknown[]): Promise<R[]>;
  /**
   * The same with rows as arrays, in the order of the select list. For the hot statements of a PIN
   * set and a verification alone (`npm run bench`): it makes no object for each row.
   */
  tuples<R extends unknown[]>(name: string, text: string, values?: unknown[]): Promise<R[]>;
}

export interface Session extends Queryable {
  /** Runs statements without parameters, several in one text. */
  script(text: string): Promise<void>;
}
