-- Whether a lease of key k is in force, and is that of a holder and of this session's login. One from before version 3 names no
-- login. It is written so that Postgres inlines it: no SET, and volatile as the clock is.
-- Only the functions of this schema call it, with their privileges.
CREATE OR REPLACE FUNCTION vaultstream.is_leased_to(k vaultstream.keys, p_holder text)
RETURNS boolean LANGUAGE sql AS $$
    SELECT k.holder = p_holder AND coalesce(k.login, session_user) = session_user
       AND k.state <> 'revoked' AND k.lease_until > clock_timestamp()
$$;
