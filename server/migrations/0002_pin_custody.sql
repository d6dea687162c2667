-- PIN custody: stronger envelopes, tries and blocks, policies, key versions, issuers and their keys, signed audit heads.

-- How a credential's PINs travel: what is meant where a call does not say, and the weakest that is taken.
alter table credentials
  add column pin_envelope         text not null default 'ecb' check (pin_envelope in ('ecb', 'bound', 'jwe')),
  add column pin_envelope_minimum text not null default 'ecb' check (pin_envelope_minimum in ('ecb', 'bound', 'jwe'));

-- Policies beyond the contract's rule, by name: {"dates": "refuse", ...}. What is not named is off.
alter table merchants
  add column pin_policies jsonb not null default '{}',
  add column pin_history  smallint not null default 0 check (pin_history between 0 and 24);

-- One-use numbers of JWE envelopes, until they could no longer be used anyway.
create table used_jtis (
  merchant_id integer not null,
  jti         text not null,
  expires_at  timestamptz not null,
  primary key (merchant_id, jti)
);
create index used_jtis_by_expiry on used_jtis (expires_at);

-- Tries and block stand with the card, whose row every set and every verification locks: a try is judged on the row as it is
-- once locked, so that parallel guesses never get more than the tries allow.
alter table cards
  add column pan_fingerprint_version integer not null default 1,
  add column cvk_version             integer not null default 1,
  add column pin_failed_tries        smallint not null default 0,
  add column pin_last_failure_at     timestamptz,
  add column pin_blocked_at          timestamptz,
  add column malformed_blocks        integer not null default 0,
  add column malformed_since         timestamptz;
update cards c set pin_failed_tries = p.failed_tries, pin_last_failure_at = p.last_failure_at, pin_blocked_at = p.blocked_at
  from pins p where p.merchant_id = c.merchant_id and p.card_no = c.card_no and (p.failed_tries > 0 or p.blocked_at is not null);
alter table pins drop column failed_tries, drop column last_failure_at, drop column blocked_at;

-- Reference values of earlier PINs, where the merchant's policy looks back; as many as it looks at.
create table pin_history (
  merchant_id integer not null,
  card_no     text not null,
  version     integer not null,
  prv         bytea not null,
  salt        bytea not null,
  key_version integer not null,
  primary key (merchant_id, card_no, version)
);

-- Birth date and phone, where the issuer supplied them, wrapped like a PAN: they serve the PIN policies alone.
alter table cardholders add column personal_wrapped bytea;

create table issuers (
  issuer_id   integer generated always as identity primary key,
  issuer_no   text not null unique,
  name        text not null,
  -- SHA-256 of a secret of 190 bits: nothing to guess, so nothing to stretch.
  secret_hash bytea not null unique check (octet_length(secret_hash) = 32),
  -- SHA-256 of the client certificate that must come along, if one must.
  client_cert bytea check (octet_length(client_cert) = 32),
  ip_allowlist text[] not null,
  status      text not null default 'Enabled' check (status in ('Enabled', 'Disabled')),
  audit_count integer not null default 0,
  audit_head  bytea not null default decode(repeat('00', 32), 'hex'),
  created_at  timestamptz not null default now()
);

create table issuer_merchants (
  issuer_id   integer not null references issuers,
  merchant_id integer not null references merchants,
  primary key (issuer_id, merchant_id)
);

-- Not for the chain's head, which moves with every record of the issuer's.
create trigger issuers_move_the_gate after update of status, secret_hash, client_cert, ip_allowlist on issuers
  for each statement execute function bump_gate_version();
create trigger issuers_leave_the_gate after delete or truncate on issuers
  for each statement execute function bump_gate_version();
create trigger issuer_merchants_move_the_gate after insert or update or delete or truncate on issuer_merchants
  for each statement execute function bump_gate_version();

-- Zone PIN keys, and the key-block protection keys under which they come; wrapped under the KEK.
create table issuer_keys (
  issuer_id        integer not null references issuers,
  kind             text not null check (kind in ('zpk', 'kbpk')),
  label            text not null,
  algorithm        text not null,
  kcv              text not null,
  key_wrapped      bytea,
  malformed_blocks integer not null default 0,
  malformed_since  timestamptz,
  created_at       timestamptz not null,
  destroyed_at     timestamptz,
  primary key (issuer_id, kind, label),
  check ((key_wrapped is null) = (destroyed_at is not null))
);

-- Shares of keys that custodians bring one by one; gone when the last one is there.
create table key_components (
  target     text not null,
  share      smallint not null,
  shares     smallint not null,
  algorithm  text not null,
  kcv        text not null,
  wrapped    bytea not null,
  created_at timestamptz not null,
  primary key (target, share)
);

-- The platform's own chain: what operators did to keys.
alter table installation
  add column audit_count integer not null default 0,
  add column audit_head  bytea not null default decode(repeat('00', 32), 'hex');

-- A signing covers the heads of all chains that changed since the one before. Each names its predecessor's digest.
create table audit_signings (
  signing_id  integer primary key,
  at          timestamptz not null,
  chains      integer not null,
  digest      bytea not null,
  key_version integer not null,
  signature   bytea not null
);
create table audit_heads (
  signing_id  integer not null references audit_signings,
  merchant_id integer not null,
  card_no     text not null,
  seq         integer not null,
  hash        bytea not null,
  primary key (merchant_id, card_no, seq)
);
create index audit_heads_of_signing on audit_heads (signing_id, merchant_id, card_no);

-- Where a chain begins after its older records were taken away.
create table audit_checkpoints (
  merchant_id integer not null,
  card_no     text not null,
  seq         integer not null,
  hash        bytea not null,
  at          timestamptz not null,
  key_version integer not null,
  signature   bytea not null,
  primary key (merchant_id, card_no)
);

-- Records may go where a checkpoint stands in for them, and nowhere else.
create function refuse_unchecked_audit_delete() returns trigger language plpgsql as $$
begin
  if exists (select from gone g where not exists (
       select from audit_checkpoints c where c.merchant_id = g.merchant_id and c.card_no = g.card_no and c.seq >= g.seq)) then
    raise exception 'audit records are append-only';
  end if;
  return null;
end $$;
drop trigger audit_records_are_append_only on audit_records;
create trigger audit_records_do_not_change before update on audit_records
  for each statement execute function refuse_audit_change();
create trigger audit_records_are_append_only after delete on audit_records
  referencing old table as gone for each statement execute function refuse_unchecked_audit_delete();
