-- Work that processes share (store/leases.py): shards of a job, what each gave, and who is alive.
CREATE TABLE shards (job text NOT NULL, key text NOT NULL, place integer NOT NULL,
    shard text NOT NULL, owner text, tries integer NOT NULL DEFAULT 0, result bytea,
    PRIMARY KEY (job, key, place));
CREATE INDEX shards_to_do ON shards (job, key, place) WHERE result IS NULL;
ALTER TABLE shards ALTER COLUMN result SET STORAGE EXTERNAL;
CREATE TABLE workers (name text PRIMARY KEY, job text NOT NULL, seen_until timestamptz NOT NULL);
