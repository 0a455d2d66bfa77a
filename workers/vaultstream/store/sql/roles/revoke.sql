-- Takes from {role} all that it has in the schema, so that what is granted next is all that it has.
REVOKE ALL ON SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL TABLES IN SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA vaultstream FROM {role};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vaultstream FROM {role};
