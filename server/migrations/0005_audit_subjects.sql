-- An audit chain names its subject by kind and number. The subject is a card, a cardholder, a
-- merchant, an issuer, or the platform. Before, one column, card_no, held a card's number,
-- 'cardholder:...', 'issuer:...', or nothing for merchants and the platform.
-- No hash and no signature changes. They cover the chain's old name, and audit_chain gives it.

create type audit_subject_kind as enum ('card', 'cardholder', 'merchant', 'issuer', 'platform');

-- The name of a chain in hashes and signatures. The merchant's id stands beside it, and is 0 for
-- issuers and the platform. No number of a card has a colon.
create function audit_chain(kind audit_subject_kind, subject text) returns text language sql immutable parallel safe
return case kind when 'card' then subject when 'cardholder' then 'cardholder:' || subject
                 when 'issuer' then 'issuer:' || subject else '' end;

alter table audit_records disable trigger audit_records_do_not_change;

alter table audit_records rename column card_no to subject;
alter table audit_heads rename column card_no to subject;
alter table audit_checkpoints rename column card_no to subject;

-- Most chains are cards': their rows are not rewritten.
alter table audit_records add column subject_kind audit_subject_kind not null default 'card';
alter table audit_heads add column subject_kind audit_subject_kind not null default 'card';
alter table audit_checkpoints add column subject_kind audit_subject_kind not null default 'card';

-- Kind and number of a chain that is not a card's, by its merchant's id and old name.
create function pg_temp.kind_of(merchant integer, name text) returns audit_subject_kind language sql stable
return case when name like 'cardholder:%' then 'cardholder' when name like 'issuer:%' then 'issuer'
            when merchant = 0 then 'platform' else 'merchant' end::audit_subject_kind;
create function pg_temp.number_of(merchant integer, name text) returns text language sql stable
return case when name like '%:%' then split_part(name, ':', 2)
            else coalesce((select merchant_no from merchants m where m.merchant_id = merchant), '') end;

update audit_records set subject_kind = pg_temp.kind_of(merchant_id, subject), subject = pg_temp.number_of(merchant_id, subject)
 where subject = '' or subject like '%:%';
update audit_heads set subject_kind = pg_temp.kind_of(merchant_id, subject), subject = pg_temp.number_of(merchant_id, subject)
 where subject = '' or subject like '%:%';
update audit_checkpoints set subject_kind = pg_temp.kind_of(merchant_id, subject), subject = pg_temp.number_of(merchant_id, subject)
 where subject = '' or subject like '%:%';

alter table audit_records alter column subject_kind drop default,
  drop constraint audit_records_pkey, add primary key (merchant_id, subject_kind, subject, seq);
alter table audit_heads alter column subject_kind drop default,
  drop constraint audit_heads_pkey, add primary key (merchant_id, subject_kind, subject, seq);
alter table audit_checkpoints alter column subject_kind drop default,
  drop constraint audit_checkpoints_pkey, add primary key (merchant_id, subject_kind, subject);

-- The order in which a signing's heads are signed and read: by the chain's name, byte by byte.
drop index audit_heads_of_signing;
create index audit_heads_of_signing on audit_heads (signing_id, merchant_id, (audit_chain(subject_kind, subject)) collate "C");

alter table audit_records enable trigger audit_records_do_not_change;

-- The same functions as before, with the new names.
create or replace function refuse_unchecked_audit_delete() returns trigger language plpgsql as $$
begin
  if exists (select from gone g where not exists (
       select from audit_checkpoints c where c.merchant_id = g.merchant_id and c.subject_kind = g.subject_kind
          and c.subject = g.subject and c.seq >= g.seq)) then
    raise exception 'audit records are append-only';
  end if;
  return null;
end $$;

drop function audit_hash(bytea, integer, text, integer, bigint, text, text);
create function audit_hash(previous bytea, merchant_id integer, chain text, seq integer, at_ms bigint, action text, details text)
returns bytea language sql stable parallel safe
return sha256(previous || convert_to(concat(
  merchant_id, ' ', octet_length(chain), ':', chain, ' ', seq, ' ', at_ms, ' ',
  octet_length(action), ':', action, ' ', octet_length(details), ':', details), 'UTF8'));
