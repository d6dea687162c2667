-- The platform's first schema: merchants and their credentials, cardholders, cards, PINs, audit, events.
-- Tables carry the merchant in their keys, so that a call of one merchant can name no other's rows.

-- What this database belongs to: a production platform refuses one that a sandbox made, and none starts
-- with a key file that did not make these rows.
create table installation (
  one         boolean primary key default true check (one),
  mode        text not null check (mode in ('sandbox', 'production')),
  key_file_id text not null,
  created_at  timestamptz not null default now()
);

create table merchants (
  merchant_id      integer generated always as identity primary key,
  merchant_no      text not null unique,
  name             text not null,
  status           text not null default 'Active' check (status in ('Active', 'Disabled')),
  integration_mode text not null check (integration_mode in ('AUTHORIZATION', 'CREDIT_EXTENSION')),
  pin_runs         text not null default 'arithmetic' check (pin_runs in ('arithmetic', 'keypad')),
  callback_actions text[] not null default '{}',
  token_epoch      integer not null default 0,
  audit_count      integer not null default 0,
  audit_head       bytea not null default decode(repeat('00', 32), 'hex'),
  created_at       timestamptz not null default now()
);

create table credentials (
  credential_id  integer generated always as identity primary key,
  merchant_id    integer not null references merchants,
  api_key        text not null unique,
  secret_wrapped bytea not null,
  status         text not null default 'Enabled' check (status in ('Enabled', 'Disabled')),
  expires_at     timestamptz,
  ip_allowlist   text[] not null,
  token_epoch    integer not null default 0,
  created_at     timestamptz not null default now()
);
create index credentials_of_merchant on credentials (merchant_id);

-- Every process keeps credentials in memory and asks several times a second whether this number has moved.
-- It is written in the transaction of the change, so that whoever sees the new number sees the change too.
create table gate_version (
  one     boolean primary key default true check (one),
  version bigint not null default 0
);
insert into gate_version default values;

create function bump_gate_version() returns trigger language plpgsql as $$
begin
  update gate_version set version = version + 1;
  return null;
end $$;
create trigger merchants_move_the_gate after update or delete or truncate on merchants
  for each statement execute function bump_gate_version();
create trigger credentials_move_the_gate after update or delete or truncate on credentials
  for each statement execute function bump_gate_version();

create table cardholders (
  merchant_id          integer not null references merchants,
  cardholder_no        text not null unique,
  cardholder_unique_no text not null,
  email                text,
  status               text not null check (status in ('Pending', 'In_progress', 'Approved', 'Rejected')),
  fail_reason          text,
  created_at           timestamptz not null default now(),
  primary key (merchant_id, cardholder_no),
  unique (merchant_id, cardholder_unique_no)
);

create table cards (
  merchant_id          integer not null,
  card_no              text not null unique,
  card_unique_no       text not null,
  cardholder_no        text not null,
  card_type            text not null check (card_type in ('Virtual', 'Physical')),
  status               text not null check (status in ('Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete')),
  card_name            text not null default '',
  organization         text not null default '',
  pan_wrapped          bytea,
  pan_fingerprint      bytea unique,
  pan_last_four        text check (pan_last_four ~ '^[0-9]{4}$'),
  expiry_yymm          text check (expiry_yymm ~ '^[0-9]{4}$'),
  activation_failures  smallint not null default 0,
  activation_failed_at timestamptz,
  -- How many PINs were set; here and not with the PIN, so that the statement that locks the card assigns it.
  pin_version          integer not null default 0,
  audit_count          integer not null default 0,
  audit_head           bytea not null default decode(repeat('00', 32), 'hex'),
  created_at           timestamptz not null default now(),
  primary key (merchant_id, card_no),
  unique (merchant_id, card_unique_no),
  foreign key (merchant_id, cardholder_no) references cardholders
) with (fillfactor = 80);
create index cards_by_time on cards (merchant_id, created_at desc, card_no desc);
create index cards_of_cardholder on cards (merchant_id, cardholder_no, created_at desc, card_no desc);

-- A PIN reference value can check a PIN and holds none; its key is not in the database.
create table pins (
  merchant_id     integer not null,
  card_no         text not null,
  version         integer not null,
  prv             bytea not null check (octet_length(prv) = 32),
  salt            bytea not null check (octet_length(salt) = 16),
  key_version     integer not null,
  envelope        text not null,
  channel         text not null,
  credential_id   integer not null,
  set_at          timestamptz not null,
  failed_tries    smallint not null default 0,
  last_failure_at timestamptz,
  blocked_at      timestamptz,
  primary key (merchant_id, card_no),
  foreign key (merchant_id, card_no) references cards
) with (fillfactor = 80);

-- One chain a card, and one a merchant (card_no = ''). No foreign key: the record outlives what it tells of,
-- and the row that holds the chain's head is locked by the writing statement anyway.
create table audit_records (
  merchant_id integer not null,
  card_no     text not null,
  seq         integer not null,
  at          timestamptz not null,
  action      text not null,
  details     text not null,
  hash        bytea not null,
  primary key (merchant_id, card_no, seq)
);

-- SHA-256 over the hash before it and every column; texts stand behind their length in bytes, so that no two records read alike.
create function audit_hash(previous bytea, merchant_id integer, card_no text, seq integer, at_ms bigint, action text, details text)
returns bytea language sql stable parallel safe
return sha256(previous || convert_to(concat(
  merchant_id, ' ', octet_length(card_no), ':', card_no, ' ', seq, ' ', at_ms, ' ',
  octet_length(action), ':', action, ' ', octet_length(details), ':', details), 'UTF8'));

-- What the record of a PIN set says; made here, since the version is known only once the card is locked.
create function pin_set_details(version integer, credential_id integer, ip text, request_id text, envelope text)
returns text language sql stable parallel safe
return concat('{"version":', version, ',"credential_id":', credential_id, ',"ip":"', ip, '","request_id":"', request_id,
              '","envelope":"', envelope, '","channel":"merchant-api"}');

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
  raise exception 'audit records are append-only';
end $$;
create trigger audit_records_are_append_only before update or delete on audit_records
  for each statement execute function refuse_audit_change();

create function refuse_audit_truncate() returns trigger language plpgsql as $$
begin
  if not exists (select from installation where mode = 'sandbox') then
    raise exception 'audit records are append-only';
  end if;
  return null;
end $$;
create trigger audit_records_are_kept before truncate on audit_records
  for each statement execute function refuse_audit_truncate();

-- What merchants are to hear of, written with the change that it tells of.
create table callback_events (
  event_id    bigint generated always as identity primary key,
  merchant_id integer not null,
  card_no     text not null,
  action      text not null,
  data        text not null,
  created_at  timestamptz not null
);
