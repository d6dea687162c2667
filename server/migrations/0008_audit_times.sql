-- The time of each chain's last record, in Unix milliseconds. The next record and its event are
-- never earlier. Without it they could be: the clocks of processes differ, and each process reads
-- its clock before it has the lock of the row.

alter table cards        add column audit_at_ms bigint not null default 0;
alter table cardholders  add column audit_at_ms bigint not null default 0;
alter table merchants    add column audit_at_ms bigint not null default 0;
alter table issuers      add column audit_at_ms bigint not null default 0;
alter table installation add column audit_at_ms bigint not null default 0;

create function pg_temp.last_at_ms(merchant integer, kind audit_subject_kind, number text) returns bigint language sql stable
return (select coalesce(max((extract(epoch from at) * 1000)::bigint), 0) from audit_records r
         where r.merchant_id = merchant and r.subject_kind = kind and r.subject = number);

update cards        set audit_at_ms = pg_temp.last_at_ms(merchant_id, 'card', card_no)             where audit_count > 0;
update cardholders  set audit_at_ms = pg_temp.last_at_ms(merchant_id, 'cardholder', cardholder_no) where audit_count > 0;
update merchants    set audit_at_ms = pg_temp.last_at_ms(merchant_id, 'merchant', merchant_no)     where audit_count > 0;
update issuers      set audit_at_ms = pg_temp.last_at_ms(0, 'issuer', issuer_no)                   where audit_count > 0;
update installation set audit_at_ms = pg_temp.last_at_ms(0, 'platform', '')                        where audit_count > 0;
