-- Where rows wait whose ids come from the file: the type of the ids is known only after the last one.
CREATE TEMPORARY TABLE vaultstream_import (line bigint, id text COLLATE "C", payload {payload_type}) ON COMMIT DROP
