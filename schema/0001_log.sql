-- The log, version 1. Applied once, in one transaction, by src/log/migrate.rs; never edited after a release.

-- The truth. Rows are only ever added; `chain` makes any other change visible (src/log/chain.rs).
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,          -- dense, from 1
    event_id   BLOB    NOT NULL,             -- 16 bytes, UUIDv7
    boot_id    BLOB,                         -- 16 bytes
    mission_id BLOB,                         -- 16 bytes
    kind       TEXT    NOT NULL,             -- `boot_started`
    version    INTEGER NOT NULL,             -- of the payload
    at         INTEGER NOT NULL,             -- microseconds since 1970-01-01T00:00:00Z
    payload    BLOB    NOT NULL,             -- a frame (src/log/codec.rs)
    chain      BLOB    NOT NULL              -- 32 bytes
) STRICT;

CREATE INDEX events_of_boot ON events (boot_id) WHERE boot_id IS NOT NULL;
CREATE INDEX events_of_mission ON events (mission_id) WHERE mission_id IS NOT NULL;

-- A guard against accidents, not against an attacker: that is what the chain is for.
CREATE TRIGGER events_are_never_updated BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

-- An anchor: a row of the log, the last one or (while events are being appended) one shortly before
-- it, so that a tail that was cut off is missed (README.md); and which program made the projections
-- below. Where the log ends is what `events` says.
CREATE TABLE head (
    only              INTEGER PRIMARY KEY CHECK (only = 1),
    seq               INTEGER NOT NULL,
    chain             BLOB    NOT NULL,
    projection_format INTEGER NOT NULL
) STRICT;

-- Projections: derived from the events alone, dropped and rebuilt at will. `state` is the whole
-- state; the other columns are what is searched and listed.
CREATE TABLE boots (
    seq_first  INTEGER PRIMARY KEY,          -- of its `boot_started`
    boot_id    BLOB    NOT NULL UNIQUE,
    seq_last   INTEGER NOT NULL,
    app        TEXT    NOT NULL,
    mode       TEXT    NOT NULL,
    phase      TEXT    NOT NULL,
    outcome    TEXT,
    decision   TEXT,
    attempts   INTEGER NOT NULL,
    degraded   INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    up_at      INTEGER,
    ended_at   INTEGER,
    reason     TEXT    NOT NULL,
    state      BLOB    NOT NULL
) STRICT;

CREATE INDEX boots_unfinished ON boots (seq_first) WHERE phase <> 'ended';

CREATE TABLE missions (
    seq_first   INTEGER PRIMARY KEY,         -- of its `mission_filed`
    mission_id  BLOB    NOT NULL UNIQUE,
    seq_last    INTEGER NOT NULL,
    slug        TEXT    NOT NULL,
    signature   TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    filed_at    INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    lease_until INTEGER,
    state       BLOB    NOT NULL
) STRICT;

CREATE INDEX missions_open ON missions (status, seq_first) WHERE status <> 'closed';
CREATE INDEX missions_open_signature ON missions (signature) WHERE status <> 'closed';
CREATE INDEX missions_slug ON missions (slug);

-- How each fixer fared with each signature.
CREATE TABLE fix_memory (
    signature   TEXT    NOT NULL,
    fixer       TEXT    NOT NULL,
    closed      INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    rolled_back INTEGER NOT NULL,
    PRIMARY KEY (signature, fixer)
) STRICT, WITHOUT ROWID;
