-- works with programs from version 2
-- Each claim and each commit changes a key's row. Without this index, all of these changes stay on the row's page and in no index.
DROP INDEX vaultstream.keys_lru;
