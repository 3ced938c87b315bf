-- What is set on groups, whether there are such groups or not.
CREATE TABLE group_config (
    account TEXT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    configs TEXT NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
