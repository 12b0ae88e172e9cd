-- The database as it was at the last release: `sqlite3 data/app.db < data/seed.sql`.

BEGIN;

CREATE TABLE documents (
    id INTEGER NOT NULL,
    title VARCHAR(200) NOT NULL,
    source VARCHAR(255) NOT NULL,
    body TEXT NOT NULL,
    words INTEGER NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_documents PRIMARY KEY (id)
);
CREATE INDEX ix_documents_source ON documents (source);

CREATE TABLE heartbeats (
    worker VARCHAR(50) NOT NULL,
    pid INTEGER NOT NULL,
    interval_s INTEGER NOT NULL,
    rounds INTEGER DEFAULT '0' NOT NULL,
    started_at DATETIME NOT NULL,
    beat_at DATETIME NOT NULL,
    CONSTRAINT pk_heartbeats PRIMARY KEY (worker)
);

CREATE TABLE learning_events (
    id INTEGER NOT NULL,
    kind VARCHAR(50) NOT NULL,
    score FLOAT NOT NULL,
    payload JSON NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_learning_events PRIMARY KEY (id)
);
CREATE INDEX ix_learning_events_kind ON learning_events (kind);

CREATE TABLE policies (
    id INTEGER NOT NULL,
    name VARCHAR(100) NOT NULL,
    action VARCHAR(100) NOT NULL,
    role VARCHAR(20) NOT NULL,
    effect VARCHAR(5) NOT NULL,
    enabled BOOLEAN NOT NULL,
    CONSTRAINT pk_policies PRIMARY KEY (id),
    CONSTRAINT ck_policies_effect CHECK (effect IN ('allow', 'deny')),
    CONSTRAINT uq_policies_name UNIQUE (name)
);

CREATE TABLE users (
    id INTEGER NOT NULL,
    email VARCHAR(255) NOT NULL,
    name VARCHAR(100) NOT NULL,
    role VARCHAR(20) DEFAULT 'member' NOT NULL,
    active BOOLEAN NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT uq_users_email UNIQUE (email)
);

CREATE TABLE vault_entries (
    name VARCHAR(100) NOT NULL,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    checked_at DATETIME,
    CONSTRAINT pk_vault_entries PRIMARY KEY (name)
);

CREATE TABLE chat_messages (
    id INTEGER NOT NULL,
    room VARCHAR(50) NOT NULL,
    user_id INTEGER NOT NULL,
    text TEXT NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_chat_messages PRIMARY KEY (id),
    CONSTRAINT fk_chat_messages_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX ix_chat_messages_room ON chat_messages (room);

CREATE TABLE memories (
    id INTEGER NOT NULL,
    topic VARCHAR(100) NOT NULL,
    content TEXT NOT NULL,
    document_id INTEGER,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    recalls INTEGER DEFAULT '0' NOT NULL,
    recalled_at DATETIME,
    CONSTRAINT pk_memories PRIMARY KEY (id),
    CONSTRAINT fk_memories_document_id_documents FOREIGN KEY(document_id) REFERENCES documents (id) ON DELETE SET NULL
);
CREATE INDEX ix_memories_topic ON memories (topic);

CREATE TABLE missions (
    id INTEGER NOT NULL,
    title VARCHAR(200) NOT NULL,
    action VARCHAR(50) NOT NULL,
    status VARCHAR(10) DEFAULT 'queued' NOT NULL,
    priority INTEGER DEFAULT '5' NOT NULL,
    result TEXT,
    owner_id INTEGER,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    finished_at DATETIME,
    CONSTRAINT pk_missions PRIMARY KEY (id),
    CONSTRAINT ck_missions_status CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    CONSTRAINT fk_missions_owner_id_users FOREIGN KEY(owner_id) REFERENCES users (id) ON DELETE SET NULL
);
CREATE INDEX ix_missions_status ON missions (status, priority);

CREATE TABLE policy_decisions (
    id INTEGER NOT NULL,
    policy_id INTEGER,
    action VARCHAR(100) NOT NULL,
    role VARCHAR(20) NOT NULL,
    allowed BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_policy_decisions PRIMARY KEY (id),
    CONSTRAINT fk_policy_decisions_policy_id_policies FOREIGN KEY(policy_id) REFERENCES policies (id) ON DELETE SET NULL
);
CREATE INDEX ix_policy_decisions_created_at ON policy_decisions (created_at);

CREATE TABLE sessions (
    id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    token_digest VARCHAR(64) NOT NULL,
    expires_at DATETIME NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT fk_sessions_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT uq_sessions_token_digest UNIQUE (token_digest)
);
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);
CREATE INDEX ix_sessions_user_id ON sessions (user_id);

INSERT INTO users (id, email, name, role, active, created_at) VALUES
    (1, 'ada@example.org', 'Ada', 'admin', 1, '2025-01-06 08:00:00'),
    (2, 'grace@example.org', 'Grace', 'operator', 1, '2025-01-06 08:05:00'),
    (3, 'linus@example.org', 'Linus', 'member', 1, '2025-02-11 14:30:00'),
    (4, 'former@example.org', 'Former', 'member', 0, '2025-02-12 09:00:00');

INSERT INTO sessions (id, user_id, token_digest, expires_at, created_at) VALUES
    (1, 2, 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '2025-03-01 20:00:00', '2025-03-01 08:00:00');

INSERT INTO policies (id, name, action, role, effect, enabled) VALUES
    (1, 'admins-do-everything', '*', 'admin', 'allow', 1),
    (2, 'operators-run-missions', 'mission.*', 'operator', 'allow', 1),
    (3, 'everybody-reads', '*.read', '*', 'allow', 1),
    (4, 'nobody-exports-the-vault', 'vault.export', '*', 'deny', 1),
    (5, 'members-chat', 'chat.write', 'member', 'allow', 1);

INSERT INTO policy_decisions (policy_id, action, role, allowed, reason, created_at) VALUES
    (2, 'mission.queue', 'operator', 1, 'allowed by policy operators-run-missions', '2025-03-01 08:10:00'),
    (4, 'vault.export', 'admin', 0, 'denied by policy nobody-exports-the-vault', '2025-03-01 08:12:00'),
    (NULL, 'database.drop', 'member', 0, 'no policy allows it', '2025-03-01 08:15:00');

INSERT INTO documents (id, title, source, body, words, created_at) VALUES
    (1, 'Runbook', 'inbox/runbook.md', 'Check everything first. Then start the layers in order.', 9, '2025-02-01 10:00:00'),
    (2, 'Escalation', 'inbox/escalation.md', 'Ask the person on call before you delete anything.', 9, '2025-02-01 10:00:05'),
    (3, 'Retention', 'inbox/retention.txt', 'Documents are kept for good, sessions until they expire.', 9, '2025-02-14 16:20:00');

INSERT INTO memories (id, topic, content, document_id, created_at, recalls, recalled_at) VALUES
    (1, 'Runbook', 'Check everything first.', 1, '2025-02-01 11:00:00', 7, '2025-03-01 08:20:00'),
    (2, 'Escalation', 'Ask before you delete.', 2, '2025-02-01 11:00:00', 3, '2025-02-20 17:45:00'),
    (3, 'coffee', 'The machine on the second floor is the good one.', NULL, '2025-02-03 09:15:00', 0, NULL);

INSERT INTO missions (id, title, action, status, priority, result, owner_id, created_at, finished_at) VALUES
    (1, 'Is the database sound?', 'check_database', 'done', 2, 'no problem, rows: 22', 1, '2025-02-28 07:00:00', '2025-02-28 07:00:04'),
    (2, 'How much is there to read?', 'summarize_documents', 'done', 5, 'documents: 3, words: 27', 2, '2025-02-28 07:05:00', '2025-02-28 07:05:03'),
    (3, 'Remember what was ingested', 'remember_documents', 'queued', 5, NULL, 2, '2025-03-01 08:30:00', NULL);

INSERT INTO heartbeats (worker, pid, interval_s, rounds, started_at, beat_at) VALUES
    ('governance', 411, 30, 960, '2025-03-01 00:00:01', '2025-03-01 08:00:01'),
    ('guardian', 412, 10, 2880, '2025-03-01 00:00:01', '2025-03-01 08:00:01'),
    ('ingestion', 413, 5, 5760, '2025-03-01 00:00:02', '2025-03-01 08:00:02'),
    ('mission_control', 414, 5, 5760, '2025-03-01 00:00:02', '2025-03-01 08:00:02');

INSERT INTO learning_events (kind, score, payload, created_at) VALUES
    ('restart', 0.9, '{"service": "api"}', '2025-02-10 03:00:00'),
    ('restart', 0.4, '{"service": "ingestion"}', '2025-02-17 03:00:00'),
    ('rollback', 1.0, '{"release": "0.9.4"}', '2025-02-20 12:00:00');

INSERT INTO chat_messages (room, user_id, text, created_at) VALUES
    ('operations', 2, 'Release 1.0 is out. Who watches the first boot?', '2025-03-01 08:00:00'),
    ('operations', 3, 'I do.', '2025-03-01 08:01:00');

COMMIT;
