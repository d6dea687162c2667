/** The database's advisory locks, by what holding one means. Together here, since two uses of one number would wait for each other. */
export const LOCKS = {
  /** Migrating: of several processes that start at once one migrates and the others wait. */
  migrate: 7_746_273_001,
  /** Using the embedded server (shared), or stopping it (alone). */
  embeddedUsers: 7_746_273_002,
  /** Serving on the embedded server. */
  embeddedServing: 7_746_273_003,
  /** Changing the key file. */
  keyFile: 7_746_273_004,
  /** Signing the heads of the audit chains. */
  auditSigning: 7_746_273_005,
} as const;
