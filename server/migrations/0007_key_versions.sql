-- Every version of every key that the database has seen in the key file, with its check value.
-- An old copy of the key file lacks a version, or has another key under the same version.

create table key_versions (
  purpose   text not null,
  version   integer not null check (version > 0),
  kcv       text not null,
  destroyed boolean not null default false,
  primary key (purpose, version)
);

-- Whether the key file had its seal (the MAC over the whole file). From then on, a key file without
-- a seal is refused.
alter table installation add column key_file_sealed boolean not null default false;
