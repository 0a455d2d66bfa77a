-- Revokes all privileges of {role} in the schema; the grants that follow are then complete.
REVOKE ALL ON SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL TABLES IN SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vaultstream FROM {role};
