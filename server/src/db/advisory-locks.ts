/**
 * The advisory locks of the database, by what a holder may do. They are all listed here, since two
 * uses of the same number would wait for each other.
 */
export const LOCKS = {
  /** Migrate. If several processes start at once, one migrates and the others wait. */
  migrate: 7_746_273_001,
  /** Use the embedded server (shared), or stop it (exclusive). */
  embeddedUsers: 7_746_273_002,
  /** Serve on the embedded server. */
  embeddedServing: 7_746_273_003,
  /** Change the key file. */
  keyFile: 7_746_273_004,
  /** Sign the heads of the audit chains. */
  auditSigning: 7_746_273_005,
} as const;
