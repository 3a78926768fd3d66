-- Keys of the API and the page; of a key only its SHA-256 is kept. Times: microseconds UTC.
CREATE TABLE keys (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL, user_name TEXT, made_at_us INTEGER NOT NULL, revoked_at_us INTEGER);
-- Requests that were answered once, so that a repeated one gets the same answer.
CREATE TABLE requests (owner TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, user_name TEXT,
    made_at_us INTEGER NOT NULL, status INTEGER, body TEXT, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (made_at_us);
-- Suggestions as they were served: a JSON list of [tag, chance, strongest source], best first.
CREATE TABLE served (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, user_name TEXT,
    served_at_us INTEGER NOT NULL, at_us INTEGER NOT NULL, model TEXT NOT NULL,
    revision INTEGER NOT NULL, has_photo INTEGER NOT NULL, n_own INTEGER NOT NULL,
    suggestions TEXT NOT NULL);
CREATE INDEX served_by_user ON served (user_name);
-- What became of a suggestion: accepted, refused, or added by the person.
CREATE TABLE feedback (id INTEGER PRIMARY KEY, served INTEGER NOT NULL REFERENCES served,
    tag TEXT NOT NULL, verdict TEXT NOT NULL, given_at_us INTEGER NOT NULL, UNIQUE (served, tag));
-- Sets of tags that a person saved under a name.
CREATE TABLE sets (id INTEGER PRIMARY KEY, user_name TEXT NOT NULL, name TEXT NOT NULL,
    tags TEXT NOT NULL, UNIQUE (user_name, name));
-- Counts of tags from outside: uses and accounts of a day (days since 1970), by where they are from.
CREATE TABLE outside (source TEXT NOT NULL, tag TEXT NOT NULL, day INTEGER NOT NULL,
    uses INTEGER NOT NULL, accounts INTEGER NOT NULL, seen_at_us INTEGER NOT NULL,
    PRIMARY KEY (source, day, tag)) WITHOUT ROWID;
CREATE TABLE fetches (source TEXT PRIMARY KEY, tried_at_us INTEGER NOT NULL, fetched_at_us INTEGER,
    message TEXT NOT NULL) WITHOUT ROWID;
-- Words that Pixtag wrote into another program's photo: begun, written, confirmed or removed.
CREATE TABLE written (place TEXT NOT NULL, target TEXT NOT NULL, word TEXT NOT NULL,
    state TEXT NOT NULL, user_name TEXT, PRIMARY KEY (place, target, word)) WITHOUT ROWID;
INSERT INTO meta VALUES ('outside', 0);
