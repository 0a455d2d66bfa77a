-- Whether bytes are the public key of an algorithm as programs write and read it (SubjectPublicKeyInfo in DER). Nobody can delete a key,
-- and a set with one that is none could never be exported. It does not ask whether anybody has the private half.
CREATE OR REPLACE FUNCTION vaultstream.is_public_key(p_algorithm text, p_key bytea)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p256   CONSTANT numeric := 115792089210356248762697446949407573530086143415290314195533631308867097853951;
    p256_b CONSTANT numeric := 41058363725152142129326129780047268409114441015993725554835256314039467401291;
    p25519 CONSTANT numeric := 57896044618658097711785492504343953926634992332820282019728792003956564819949;
    d25519 CONSTANT numeric := 37095705934669439343138083508754565189542113879843219016388785533085940283555;
    v_hex  text := encode(p_key, 'hex');
    v_x    numeric := 0;
    v_y    numeric := 0;
    v_yy   numeric;
    v_a    numeric;
    v_n    numeric;
    v_rest numeric;
    v_residue boolean := true;
BEGIN
    CASE p_algorithm
    WHEN 'ECDSA_P256_SHA256' THEN
        IF v_hex !~ '^3059301306072a8648ce3d020106082a8648ce3d03010703420004[0-9a-f]{128}$' THEN
            RETURN false;
        END IF;
        FOR i IN 27..58 LOOP
            v_x := v_x * 256 + get_byte(p_key, i);
            v_y := v_y * 256 + get_byte(p_key, i + 32);
        END LOOP;
        RETURN v_x < p256 AND v_y < p256 AND (v_x * v_x % p256 * v_x - 3 * v_x + p256_b - v_y * v_y) % p256 = 0;
    WHEN 'ED25519' THEN
        IF v_hex !~ '^302a300506032b6570032100[0-9a-f]{64}$' THEN
            RETURN false;
        END IF;
        FOR i IN REVERSE 43..12 LOOP
            v_y := v_y * 256 + CASE i WHEN 43 THEN get_byte(p_key, i) & 127 ELSE get_byte(p_key, i) END;
        END LOOP;
        v_yy := v_y * v_y % p25519;
        -- Its encoding is the one, and its order is not 1, 2, 4 or 8.
        IF v_y >= p25519 OR v_yy IN (0, 1) OR (d25519 * v_yy % p25519 * v_yy + 2 * v_yy - 1) % p25519 = 0 THEN
            RETURN false;
        END IF;
        -- x² = (y² - 1) / (d·y² + 1) has a root: the symbol of Jacobi of the product is 1.
        v_a := (v_yy - 1) * (d25519 * v_yy % p25519 + 1) % p25519;
        v_n := p25519;
        WHILE v_a <> 0 LOOP
            WHILE v_a % 2 = 0 LOOP
                v_a := div(v_a, 2);
                IF v_n % 8 IN (3, 5) THEN
                    v_residue := NOT v_residue;
                END IF;
            END LOOP;
            IF v_a % 4 = 3 AND v_n % 4 = 3 THEN
                v_residue := NOT v_residue;
            END IF;
            v_rest := v_n % v_a;
            v_n := v_a;
            v_a := v_rest;
        END LOOP;
        RETURN v_residue;
    WHEN 'RSA_PSS_3072_SHA256' THEN
        RETURN octet_length(p_key) = 422 AND v_hex ~ '[13579bdf]0203010001$'
           AND v_hex ~ '^308201a2300d06092a864886f70d01010105000382018f003082018a0282018100[89a-f]';
    WHEN 'ML_DSA_65' THEN
        RETURN octet_length(p_key) = 1974 AND starts_with(v_hex, '308207b2300b0609608648016503040312038207a100');
    ELSE
        RETURN false;
    END CASE;
END $$;
