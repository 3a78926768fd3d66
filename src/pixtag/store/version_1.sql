CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tags (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE posts (id INTEGER PRIMARY KEY, post_id TEXT NOT NULL UNIQUE,
    user INTEGER REFERENCES users, posted_at_us INTEGER);
CREATE INDEX posts_by_time ON posts (posted_at_us, post_id);
CREATE INDEX posts_by_user ON posts (user, posted_at_us);
CREATE TABLE tag_uses (post INTEGER NOT NULL REFERENCES posts, position INTEGER NOT NULL,
    tag INTEGER NOT NULL REFERENCES tags, PRIMARY KEY (post, position)) WITHOUT ROWID;
CREATE INDEX tag_uses_by_tag ON tag_uses (tag);
-- A path that is no valid Unicode is kept as its bytes.
CREATE TABLE photos (post INTEGER NOT NULL REFERENCES posts, position INTEGER NOT NULL,
    path NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (post, position)) WITHOUT ROWID;
CREATE INDEX photos_by_digest ON photos (digest);
CREATE TABLE encoders (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, width INTEGER NOT NULL);
CREATE TABLE embeddings (id INTEGER PRIMARY KEY, encoder INTEGER NOT NULL REFERENCES encoders,
    digest TEXT NOT NULL, vector BLOB NOT NULL, UNIQUE (digest, encoder));
CREATE TABLE failures (target PRIMARY KEY, kind TEXT NOT NULL, message TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE bundles (id INTEGER PRIMARY KEY, path NOT NULL UNIQUE, bundle_digest TEXT NOT NULL,
    trained_until_us INTEGER);
CREATE TABLE bundle_users (bundle INTEGER NOT NULL REFERENCES bundles, user_name TEXT NOT NULL,
    PRIMARY KEY (bundle, user_name)) WITHOUT ROWID;
CREATE INDEX bundle_users_by_user ON bundle_users (user_name);
INSERT INTO meta VALUES ('revision', 0), ('needs_compacting', 0);
