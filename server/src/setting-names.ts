/** All settings. A test compares them with those that docs/operating.md describes. */
export const SETTING_NAMES = [
  'PINWARD_MODE',
  'HOST',
  'PORT',
  'DATABASE_URL',
  'PINWARD_DATA_DIR',
  'PINWARD_KEK',
  'PINWARD_KEK_FILE',
  'PINWARD_KEK_PASSPHRASE',
  'PINWARD_PKCS11_MODULE',
  'PINWARD_PKCS11_TOKEN',
  'PINWARD_PKCS11_SLOT',
  'PINWARD_PKCS11_PIN',
  'PINWARD_PKCS11_PIN_FILE',
  'PINWARD_PKCS11_LABEL',
  'PINWARD_OLD_KEK',
  'PINWARD_OLD_KEK_FILE',
  'PINWARD_OLD_KEK_PASSPHRASE',
  'PINWARD_KEY_FILE',
  'TRUST_PROXY',
  'ACCESS_TOKEN_LIFETIME_SECONDS',
  'LIMIT_FAILED_AUTH_PER_MINUTE',
  'LIMIT_CALLS_PER_CREDENTIAL_PER_MINUTE',
  'LIMIT_PIN_SETS_PER_CARD_PER_MINUTE',
  'LIMIT_MALFORMED_BLOCKS_PER_HOUR',
  'SANDBOX_VERIFICATION_DELAY_MS',
  'SANDBOX_ISSUE_DELAY_MS',
  'PIN_TRIES',
  'LOG_LEVEL',
];

/** Only names that look like ours: another program's environment is none of our business. */
const OURS = /^(PINWARD_|LIMIT_|SANDBOX_|ACCESS_TOKEN_|TRUST_P|PIN_T)/i;
/** Letters that may be wrong. */
const TYPOS = 2;

/**
 * Faults of names that are nearly a setting's: PINWARD_MDOE would start a sandbox where
 * production is meant. Other names are accepted: Kubernetes sets PINWARD_SERVICE_HOST and more
 * if a service has the name pinward, and an older version may run with newer settings.
 */
export function misspelt(env: Record<string, string | undefined>): string[] {
  const faults: string[] = [];
  for (const name of Object.keys(env)) {
    if (!OURS.test(name) || SETTING_NAMES.includes(name) || !env[name]?.trim()) continue;
    const typos = SETTING_NAMES.map((known) => distance(known, name.toUpperCase()));
    const fewest = Math.min(...typos);
    const meant = SETTING_NAMES[typos.indexOf(fewest)];
    if (fewest <= TYPOS) faults.push(`${name.slice(0, 60)} is not a setting; ${meant} is`);
  }
  return faults;
}

/** Levenshtein's distance: how many letters must be changed, added or left out. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
