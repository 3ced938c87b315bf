-- What the deliveries of others are signed with. Two accounts may have a sync of one id.
CREATE TABLE door (
    account TEXT NOT NULL,
    sync    TEXT NOT NULL,
    door    TEXT NOT NULL,
    secrets TEXT NOT NULL,
    PRIMARY KEY (sync, door, account),
    FOREIGN KEY (account, sync) REFERENCES sync (account, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
