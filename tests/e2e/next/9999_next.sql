-- works with programs from version 1
ALTER TABLE vaultstream.jobs ADD COLUMN remark text;
