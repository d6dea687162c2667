/** A page of a list. */
export interface Page {
  /** Rows before it. */
  offset: number;
  /** Rows of it. */
  size: number;
}

/** A page of the rows of a time range. */
export interface RangePage extends Page {
  /** The first instant of the range, Unix milliseconds. */
  fromMs: number;
  /** The instant after its last one. */
  beforeMs: number;
}
