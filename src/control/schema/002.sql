-- The mappings that a sync's collections had before, as JSON.
ALTER TABLE sync ADD COLUMN history TEXT NOT NULL DEFAULT '{}';
