-- A card's PIN stands in the card's row, which setting and checking it lock anyway: one row is written instead of two.

-- What a column may hold is said by its type, which is asked where a value is assigned. A table's checks are read and made ready anew by every
-- statement that updates the table, whatever it assigns, and the cards are what is updated most.
create domain card_type as text check (value in ('Virtual', 'Physical'));
create domain card_status as text check (value in ('Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete'));
create domain card_freezer as text check (value in ('merchant', 'issuer', 'both'));
create domain four_digits as text check (value ~ '^[0-9]{4}$');
create domain pin_reference as bytea check (octet_length(value) = 32);
create domain pin_salt as bytea check (octet_length(value) = 16);

do $$ begin
  if exists (select from cards c left join pins p using (merchant_id, card_no) where c.pin_version <> coalesce(p.version, 0)) then
    raise exception 'a card counts other PINs than it has';
  end if;
end $$;

-- The PIN of pin_version, all of it from 1 on and nothing at 0; the statement that counts up assigns the rest. Its reference value can check a PIN
-- and holds none; the key is not in the database.
alter table cards
  add column pin_prv           pin_reference,
  add column pin_salt          pin_salt,
  add column pin_key_version   integer,
  add column pin_envelope      text,
  add column pin_channel       text,
  add column pin_credential_id integer,
  add column pin_set_at        timestamptz;
update cards c
   set pin_prv = p.prv, pin_salt = p.salt, pin_key_version = p.key_version, pin_envelope = p.envelope, pin_channel = p.channel,
       pin_credential_id = p.credential_id, pin_set_at = p.set_at
  from pins p where p.merchant_id = c.merchant_id and p.card_no = c.card_no;
drop table pins;

-- After the update, as it makes the table anew.
alter table cards
  drop constraint cards_card_type_check, alter column card_type type card_type,
  drop constraint cards_status_check, alter column status type card_status,
  drop constraint cards_frozen_by_check, alter column frozen_by type card_freezer,
  drop constraint cards_pan_last_four_check, alter column pan_last_four type four_digits,
  drop constraint cards_expiry_yymm_check, alter column expiry_yymm type four_digits;
analyze cards;

-- In the order in which heads are signed and read, whatever the database's own is: a page of a signing is found, not sorted out of all its heads.
drop index audit_heads_of_signing;
create index audit_heads_of_signing on audit_heads (signing_id, merchant_id, card_no collate "C");
