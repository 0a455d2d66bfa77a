CREATE TABLE {table} ({id} {id_type} NOT NULL, {payload} {payload_type} NOT NULL)
