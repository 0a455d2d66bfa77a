"""What `vaultstream doctor` looks at: the machine, the services, the streams, the leases and the keys; each a finding."""
