-- Every process keeps a list of all credentials and issuers, so a call with an unknown one costs no
-- look-up. A new one must change the number that tells them to read the list again.
create trigger credentials_join_the_gate after insert on credentials
  for each statement execute function bump_gate_version();
create trigger issuers_join_the_gate after insert on issuers
  for each statement execute function bump_gate_version();

-- Readiness inserts a row here and rolls it back. That fails on a read-only node and on a full disk,
-- as a PIN set does. Each row fills a page, so an insert needs space on the disk.
create table write_probe (
  filler text not null
) with (autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
alter table write_probe alter column filler set storage plain;

-- Counts malformed PIN blocks of an hour by caller and by zone key, and all blocks since the first
-- malformed one. Before, the row of the zone key counted only malformed blocks. Ten of them turned
-- the key off, however many good blocks there were.
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
