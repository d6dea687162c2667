/** What the sandbox's verifier will say of a share token, which its beginning tells; undefined: it does not know the token. */
export function verdictOfToken(shareToken: string): 'approve' | 'reject' | 'pending' | undefined {
  return /^(approve|reject|pending)-/.exec(shareToken)?.[1] as 'approve' | 'reject' | 'pending' | undefined;
}
