-- The log of changes: the revision that last changed a post, and the last that removed any.
ALTER TABLE posts ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
UPDATE posts SET changed = (SELECT value FROM meta WHERE name = 'revision');
CREATE INDEX posts_by_change ON posts (changed);
-- When the store learned of a post; NULL for those of earlier versions.
ALTER TABLE posts ADD COLUMN seen_at_us INTEGER;
INSERT INTO meta VALUES ('removed', 0);
DELETE FROM tag_uses WHERE EXISTS (SELECT 1 FROM tag_uses AS earlier WHERE
    earlier.post = tag_uses.post AND earlier.tag = tag_uses.tag
    AND earlier.position < tag_uses.position);
DROP INDEX tag_uses_by_tag;
CREATE UNIQUE INDEX tag_uses_by_tag ON tag_uses (tag, post);
-- '' as user_name: everybody in this store. A person may have lists and no posts.
CREATE TABLE lists (id INTEGER PRIMARY KEY, user_name TEXT NOT NULL, list TEXT NOT NULL,
    tag TEXT NOT NULL, UNIQUE (user_name, list, tag));
