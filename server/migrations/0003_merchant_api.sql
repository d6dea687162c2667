-- The whole merchant API: card products, applications and verifications, delivery of callbacks, repeated requests, client tokens.

-- A BIN is its issuer's: that issuer decides on the applications under it, and the merchants that it is bound to may apply.
create table card_bins (
  card_bin_no      text primary key,
  issuer_id        integer not null references issuers,
  bin              text not null check (bin ~ '^[0-9]{6,11}$'),
  pan_digits       smallint not null default 16 check (pan_digits between 12 and 19),
  organization     text not null,
  support_physical boolean not null,
  support_virtual  boolean not null,
  currencies       text[] not null,
  -- Of money, which this platform does not move: told as they were given.
  limits           jsonb not null,
  status           text not null default 'Enabled' check (status in ('Enabled', 'Disabled')),
  created_at       timestamptz not null
);
create index card_bins_of_issuer on card_bins (issuer_id, card_bin_no);

create table card_packages (
  package_no  text primary key,
  card_bin_no text not null references card_bins,
  card_type   text not null check (card_type in ('Virtual', 'Physical')),
  en_name     text not null,
  cn_name     text not null,
  en_desc     text not null,
  cn_desc     text not null,
  en_tags     text[] not null,
  cn_tags     text[] not null,
  limits      jsonb not null,
  fee_detail  jsonb not null,
  status      text not null default 'Enabled' check (status in ('Enabled', 'Disabled')),
  created_at  timestamptz not null
);
create index card_packages_of_bin on card_packages (card_bin_no, package_no);

alter table cards
  add column card_bin_no text references card_bins,
  add column package_no  text references card_packages,
  -- Whose freeze it is, while the card is frozen: what an issuer froze, the merchant does not unfreeze, nor the other way round.
  add column frozen_by text not null default 'merchant' check (frozen_by in ('merchant', 'issuer', 'both'));

-- What was applied for, until and after the issuer decides.
create table card_applications (
  merchant_id     integer not null,
  card_no         text not null,
  card_bin_no     text not null references card_bins,
  -- Name, phone and address of the holder, wrapped like a PAN.
  address_wrapped bytea,
  applied_at      timestamptz not null,
  decided_at      timestamptz,
  fail_reason     text,
  primary key (merchant_id, card_no),
  foreign key (merchant_id, card_no) references cards
);
create index card_applications_to_decide on card_applications (card_bin_no, applied_at, card_no) where decided_at is null;

-- A cardholder has a chain of audit records too. The share token, by which the verifier gets at the person's documents, is kept
-- wrapped until the verdict; its hash stays, so that a repeated application is known for one.
alter table cardholders
  add column audit_count         integer not null default 0,
  add column audit_head          bytea not null default decode(repeat('00', 32), 'hex'),
  add column share_token_hash    bytea check (octet_length(share_token_hash) = 32),
  add column share_token_wrapped bytea,
  add column submitted_at        timestamptz;
create index cardholders_by_time on cardholders (merchant_id, created_at desc, cardholder_no desc);
-- In the order of the queue, whosever the cardholders are: an issuer's page is read from its beginning and no further.
create index cardholders_to_verify on cardholders (submitted_at, cardholder_no, merchant_id) where share_token_wrapped is not null;

alter table merchants
  add column pci_enabled            boolean not null default false,
  add column callback_url           text,
  -- Its Api-Key is the appId, and its secret signs, until the operator names another: also while a new one is already in use.
  add column callback_credential_id integer references credentials,
  alter column callback_actions set default '{Card_update}';
update merchants set callback_actions = callback_actions || 'Card_update'::text where not 'Card_update' = any(callback_actions);

-- An event waits while due_at is there, and is then delivered or parked. Events from before there was delivery wait for nothing.
alter table callback_events
  add column push_id      uuid not null default gen_random_uuid(),
  add column due_at       timestamptz,
  add column attempts     smallint not null default 0,
  add column last_fault   text,
  add column delivered_at timestamptz,
  add column parked_at    timestamptz;
create index callback_events_due on callback_events (merchant_id, due_at, event_id) where due_at is not null;
create index callback_events_of_card on callback_events (merchant_id, card_no, event_id) where due_at is not null;
create index callback_events_parked on callback_events (merchant_id, event_id) where parked_at is not null;
create index callback_events_delivered on callback_events (delivered_at) where delivered_at is not null;

-- Answers to requests that carried an Idempotency-Key, for 24 hours; without an answer while the first of them is being served.
create table idempotency_keys (
  credential_id integer not null,
  key           text not null,
  request_hash  bytea not null check (octet_length(request_hash) = 32),
  answer        text,
  locked_until  timestamptz,
  created_at    timestamptz not null,
  primary key (credential_id, key)
);
create index idempotency_keys_by_time on idempotency_keys (created_at);

-- Client access tokens by their SHA-256 (256 random bits: nothing to guess). Used once, then gone.
create table client_tokens (
  token_hash    bytea primary key check (octet_length(token_hash) = 32),
  merchant_id   integer not null,
  card_no       text not null,
  credential_id integer not null,
  expires_at    timestamptz not null,
  foreign key (merchant_id, card_no) references cards
);
create index client_tokens_by_expiry on client_tokens (expires_at);
