-- The committed leases among pairs of key $1 and epoch $2, as when they began and ended.
SELECT l.key_no, l.epoch, lower(l.during) AS began, upper(l.during) AS ended, l.holder, l.batch_no
FROM vaultstream.leases l
JOIN unnest($1::int[], $2::int[]) AS used (key_no, epoch) USING (key_no, epoch)
WHERE l.outcome = 'committed'
