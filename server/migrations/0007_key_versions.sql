-- What the database knows of the key file: every version of every key that it met, by its check value.
-- A key file that was restored from before a rotation lacks a version, or has another key under it.

create table key_versions (
  purpose   text not null,
  version   integer not null check (version > 0),
  kcv       text not null,
  destroyed boolean not null default false,
  primary key (purpose, version)
);

-- Whether the key file was seen with its seal (the MAC over the whole file). From then on one without is refused.
alter table installation add column key_file_sealed boolean not null default false;
