-- Takes the lock of a reader: until this transaction ends the table can't be dropped or altered.
SELECT FROM {relation} LIMIT 0
