-- Counts new batches in the row of their job, which whoever adds batches has locked.
CREATE OR REPLACE FUNCTION vaultstream.count_batches() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE vaultstream.jobs j
    SET cut = j.cut + a.batches, found = j.found + a.records
    FROM (SELECT job_no, count(*) AS batches, coalesce(sum(records) FILTER (WHERE planned), 0) AS records FROM added GROUP BY job_no) AS a
    WHERE j.job_no = a.job_no;
    RETURN NULL;
END $$;
