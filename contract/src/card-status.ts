export const CARD_STATUSES = ['Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete'] as const;
export type CardStatus = (typeof CARD_STATUSES)[number];

interface Transition {
  from: readonly CardStatus[];
  to: CardStatus;
}

/** All changes of a card's status. `Fail` and `Delete` are final. */
export const CARD_TRANSITIONS = {
  issuePhysical: { from: ['Pending'], to: 'ToActivate' },
  issueVirtual: { from: ['Pending'], to: 'Activated' },
  fail: { from: ['Pending'], to: 'Fail' },
  activate: { from: ['ToActivate'], to: 'Activated' },
  freeze: { from: ['Activated'], to: 'Frozen' },
  unfreeze: { from: ['Frozen'], to: 'Activated' },
  delete: { from: ['ToActivate', 'Activated', 'Frozen'], to: 'Delete' },
} as const satisfies Record<string, Transition>;

export type CardTransition = keyof typeof CARD_TRANSITIONS;

/** The status after the transition, or undefined if the transition cannot start from `status`. */
export function statusAfter(transition: CardTransition, status: CardStatus): CardStatus | undefined {
  const { from, to }: Transition = CARD_TRANSITIONS[transition];
  return from.includes(status) ? to : undefined;
}
