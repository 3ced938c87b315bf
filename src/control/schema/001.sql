CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    cluster_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credential (
    username TEXT PRIMARY KEY,
    account  TEXT NOT NULL REFERENCES account (id),
    salt     BLOB NOT NULL,
    digest   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE topic (
    account    TEXT NOT NULL REFERENCES account (id),
    name       TEXT NOT NULL,
    id         BLOB NOT NULL,
    partitions INTEGER NOT NULL,
    configs    TEXT NOT NULL,
    sync       TEXT,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE sync (
    account    TEXT NOT NULL REFERENCES account (id),
    id         TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhook (
    account    TEXT NOT NULL REFERENCES account (id),
    id         TEXT NOT NULL,
    definition TEXT NOT NULL,
    secret     TEXT NOT NULL,
    disabled   TEXT,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
