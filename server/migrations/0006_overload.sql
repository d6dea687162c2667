-- A new credential or issuer is news for every process too: they keep the list of all that exist, so that a call with
-- an unknown one costs no look-up.
create trigger credentials_join_the_gate after insert on credentials
  for each statement execute function bump_gate_version();
create trigger issuers_join_the_gate after insert on issuers
  for each statement execute function bump_gate_version();

-- Readiness inserts a row here and rolls it back: that fails on a read-only node and on a full disk, as a PIN set would.
-- A row fills a page of its own, so that the table grows if it can't be vacuumed.
create table write_probe (
  filler text not null
) with (autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
alter table write_probe alter column filler set storage plain;

-- Malformed PIN blocks of the last hour, by who sent them and by zone key, beside all blocks since the first of them.
-- Before, the zone key's row counted its malformed blocks alone: ten of them turned it off, however many were good.
create table pin_block_counts (
  issuer_id integer not null references issuers,
  kind      text not null check (kind in ('caller', 'zone_key')),
  name      text not null,
  malformed integer not null,
  blocks    bigint not null,
  since     timestamptz not null,
  primary key (issuer_id, kind, name)
);
alter table issuer_keys drop column malformed_blocks, drop column malformed_since;
-- For the operator's list. Few cards have ever had a malformed block.
create index cards_with_malformed_blocks on cards (malformed_since) where malformed_since is not null;
