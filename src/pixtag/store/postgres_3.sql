-- What version 3 of the schema is on PostgreSQL, before the tables that both engines share.
-- Times: microseconds UTC. A post's row holds all of it: its person, tags and photos, by name; a
-- path is kept as its bytes. What is looked up by tag or person is derived from it below.
CREATE TABLE meta (name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE names (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE posts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id text COLLATE "C" NOT NULL UNIQUE, "user" text COLLATE "C", posted_at_us bigint,
    seen_at_us bigint, tags text[] COLLATE "C" NOT NULL, paths bytea[] NOT NULL,
    digests text[] COLLATE "C" NOT NULL,
    -- The transaction that last changed the post: who follows asks for those not seen before.
    changed xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX posts_by_time ON posts (posted_at_us NULLS FIRST, post_id);
CREATE INDEX posts_by_user ON posts ("user", posted_at_us NULLS FIRST, post_id);
CREATE INDEX posts_by_change ON posts (changed);
CREATE INDEX posts_by_digest ON posts USING gin (digests) WITH (fastupdate = off);
-- The same as relations, as the SQLite file has them; here the number of a name is the name itself.
CREATE TABLE users (id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" UNIQUE GENERATED ALWAYS AS (id) STORED);
CREATE TABLE tags (id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" UNIQUE GENERATED ALWAYS AS (id) STORED);
CREATE TABLE tag_uses (post bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
    position integer NOT NULL, tag text COLLATE "C" NOT NULL, PRIMARY KEY (post, position));
CREATE UNIQUE INDEX tag_uses_by_tag ON tag_uses (tag, post);
CREATE VIEW photos AS SELECT posts.id AS post, position::integer - 1 AS position, path, digest
    FROM posts, unnest(paths, digests) WITH ORDINALITY AS photo (path, digest, position);
CREATE FUNCTION lay_out_post() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM pixtag.tag_uses WHERE post = NEW.id;
    INSERT INTO pixtag.users (id) SELECT NEW."user" WHERE NEW."user" IS NOT NULL
        AND NOT EXISTS (SELECT FROM pixtag.users WHERE id = NEW."user") ON CONFLICT DO NOTHING;
    INSERT INTO pixtag.tags (id) SELECT tag FROM unnest(NEW.tags) AS tag
        WHERE NOT EXISTS (SELECT FROM pixtag.tags WHERE id = tag) ORDER BY 1
        ON CONFLICT DO NOTHING;
    INSERT INTO pixtag.tag_uses SELECT NEW.id, place - 1, tag
        FROM unnest(NEW.tags) WITH ORDINALITY AS use (tag, place);
    RETURN NULL;
END $$;
CREATE TRIGGER lay_out_post AFTER UPDATE OF "user", tags ON posts
    FOR EACH ROW EXECUTE FUNCTION lay_out_post();
-- New posts come in bulk, so theirs are laid out at once for a whole statement.
CREATE FUNCTION lay_out_new_posts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO pixtag.users (id) SELECT DISTINCT "user" FROM fresh WHERE "user" IS NOT NULL
        AND NOT EXISTS (SELECT FROM pixtag.users WHERE id = fresh."user") ORDER BY 1
        ON CONFLICT DO NOTHING;
    INSERT INTO pixtag.tags (id) SELECT DISTINCT tag FROM fresh, unnest(tags) AS tag
        WHERE NOT EXISTS (SELECT FROM pixtag.tags WHERE id = tag) ORDER BY 1
        ON CONFLICT DO NOTHING;
    INSERT INTO pixtag.tag_uses SELECT fresh.id, place - 1, tag
        FROM fresh, unnest(fresh.tags) WITH ORDINALITY AS use (tag, place);
    RETURN NULL;
END $$;
CREATE TRIGGER lay_out_new_posts AFTER INSERT ON posts REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION lay_out_new_posts();
-- Transactions that removed posts; nothing of a removed post is kept.
CREATE TABLE removals (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX removals_by_change ON removals (changed);
CREATE TABLE encoders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text COLLATE "C" NOT NULL UNIQUE, width integer NOT NULL);
-- Embeddings are kept in the row, uncompressed: halfs do not shrink.
CREATE TABLE embeddings (encoder bigint NOT NULL REFERENCES encoders,
    digest text COLLATE "C" NOT NULL, vector bytea NOT NULL,
    PRIMARY KEY (digest, encoder)) WITH (toast_tuple_target = 8160);
ALTER TABLE embeddings ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE TABLE failures (target bytea PRIMARY KEY, kind text NOT NULL, message text NOT NULL);
CREATE TABLE bundles (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path bytea NOT NULL UNIQUE, bundle_digest text NOT NULL, trained_until_us bigint);
CREATE TABLE bundle_users (bundle bigint NOT NULL REFERENCES bundles,
    user_name text COLLATE "C" NOT NULL, PRIMARY KEY (bundle, user_name));
CREATE INDEX bundle_users_by_user ON bundle_users (user_name);
CREATE TABLE lists (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_name text COLLATE "C" NOT NULL, list text NOT NULL, tag text COLLATE "C" NOT NULL,
    UNIQUE (user_name, list, tag));
