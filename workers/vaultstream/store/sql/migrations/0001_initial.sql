-- The whole contract between the workers. Postgres is the authority: what lies in JetStream can be made again from here.

-- The order in which keys were given back: the lowest is the least recently used.
CREATE SEQUENCE vaultstream.lru;

CREATE TABLE vaultstream.jobs (
    job_no            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token             text NOT NULL UNIQUE,        -- the job's name in NATS subjects; no two jobs ever share one
    name              text NOT NULL,
    owner_uid         text,                        -- uid of the SigningJob object that it was made for; NULL: none
    spec              jsonb NOT NULL,              -- the SigningJob's spec, as resolved
    id_type           text NOT NULL CHECK (id_type IN ('bigint', 'uuid', 'text')),
    state             text NOT NULL DEFAULT 'Pending'
                      CHECK (state IN ('Pending', 'Running', 'Suspended', 'Complete', 'Failed')),
    message           text,                        -- why the job is in its state, or what it waits for
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    deleted_at        timestamptz,                 -- set: only its signatures, leases and public keys are kept
    upper_id          text,                        -- the highest id at the start; the job reaches no further
    planned_id        text,                        -- the keyset checkpoint: all up to here lies in batches
    planned           boolean NOT NULL DEFAULT false,
    next_batch_no     bigint NOT NULL DEFAULT 1,
    published_through bigint NOT NULL DEFAULT 0    -- the publisher's checkpoint: batches up to here were published
);
CREATE UNIQUE INDEX jobs_name ON vaultstream.jobs (name) WHERE deleted_at IS NULL;

CREATE TABLE vaultstream.keys (
    key_no      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_no      int NOT NULL REFERENCES vaultstream.jobs,
    ordinal     int NOT NULL,                      -- 1 to keys.count, then those that were added
    key_id      text NOT NULL UNIQUE,              -- what people, exports and JWKS call it
    algorithm   text NOT NULL,
    public_key  bytea NOT NULL,                    -- SubjectPublicKeyInfo, DER
    state       text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'retired', 'revoked')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,                       -- when it was retired or revoked
    -- the lease: held while holder is set and lease_until lies ahead; the epoch is the fencing token
    epoch       int NOT NULL DEFAULT 0,
    holder      text,
    leased_at   timestamptz,
    lease_until timestamptz,
    lru         bigint NOT NULL DEFAULT nextval('vaultstream.lru'),
    UNIQUE (job_no, ordinal)
) WITH (fillfactor = 50);
CREATE INDEX keys_lru ON vaultstream.keys (job_no, lru);

-- Private keys, wrapped (see vaultstream.crypto.envelope). Apart from the leases, so that those rows stay narrow.
CREATE TABLE vaultstream.key_material (
    key_no  int PRIMARY KEY REFERENCES vaultstream.keys ON DELETE CASCADE,
    version int NOT NULL,                          -- grows with each rewrap
    kek_id  text NOT NULL,                         -- which key-encryption key wrapped it
    wrapped bytea NOT NULL                         -- nonce and AES-256-GCM ciphertext with its tag
);

CREATE TABLE vaultstream.batches (
    job_no     int NOT NULL REFERENCES vaultstream.jobs,
    batch_no   bigint NOT NULL,
    records    int NOT NULL,
    first_id   text NOT NULL,
    last_id    text NOT NULL,
    ids        text[],                             -- NULL: every integer from first_id to last_id
    planned    boolean NOT NULL DEFAULT true,      -- cut from the source; false: a part or a retry of such batches
    state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'split')),
    attempts   int NOT NULL DEFAULT 0,
    signed     int NOT NULL DEFAULT 0,
    dead       int NOT NULL DEFAULT 0,             -- went to the dead letters when this batch was settled
    error      text,                               -- of the last failed attempt
    settled_at timestamptz,
    PRIMARY KEY (job_no, batch_no),
    CHECK (state <> 'done' OR signed + dead = records)
) WITH (fillfactor = 70);
CREATE INDEX batches_pending ON vaultstream.batches (job_no, batch_no) WHERE state = 'pending';

-- Each lease that ended, and how. Promise 2 as a constraint: no two leases of a key at one time.
-- The range of one integer stands in for equality, which GiST has only with the btree_gist extension.
CREATE TABLE vaultstream.leases (
    key_no   int NOT NULL,
    epoch    int NOT NULL,
    holder   text NOT NULL,
    batch_no bigint,                               -- NULL: the lease ended without a batch
    during   tstzrange NOT NULL,
    outcome  text NOT NULL CHECK (outcome IN ('committed', 'superseded', 'released', 'expired', 'revoked')),
    PRIMARY KEY (key_no, epoch),
    EXCLUDE USING gist (int4range(key_no, key_no, '[]') WITH &&, during WITH &&)
);

CREATE TABLE vaultstream.dead_letters (
    job_no    int NOT NULL REFERENCES vaultstream.jobs,
    record_id text NOT NULL,
    batch_no  bigint NOT NULL,
    reason    text NOT NULL,                       -- one word, see vaultstream.records.reasons
    message   text NOT NULL,
    died_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_no, record_id)
);
