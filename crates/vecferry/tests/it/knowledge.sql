-- A small database with something for every phase: several tables, a foreign key, a sequence, a large object,
-- partitions, vector indexes, a view's rows, an unlogged table.
CREATE TABLE items (id char(26) PRIMARY KEY, botid char(26), content text, source text, embedding vector(8));
CREATE INDEX idx_items_embedding ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 100);
CREATE INDEX idx_items_botid ON items (botid);
INSERT INTO items SELECT lpad(g::text, 26, '0'), 'bot' || g % 7, repeat('Planted secret of chunk ' || g || ' ', 5),
  's3://b/' || g, ARRAY[g, g * 0.5, sin(g), 1, 2, 3, 4, 5]::real[]::vector FROM generate_series(1, 1500) g;
CREATE TABLE documents (id serial PRIMARY KEY, title text NOT NULL, item char(26) REFERENCES items);
INSERT INTO documents (title, item) SELECT 'document ' || g, CASE WHEN g % 7 <> 3 THEN lpad(g::text, 26, '0') END
  FROM generate_series(1, 900) g;
CREATE TABLE events (id bigint, at date, body text) PARTITION BY RANGE (at);
CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT g, '2023-06-01'::date + g, 'body ' || g FROM generate_series(1, 400) g;
CREATE INDEX ON events (at);
CREATE TABLE no_key (a int, b text);
INSERT INTO no_key SELECT g % 3, 'same' FROM generate_series(1, 30) g;
CREATE TABLE nothing (id int PRIMARY KEY, embedding vector(3));
CREATE INDEX ON nothing USING hnsw (embedding vector_cosine_ops);
CREATE MATERIALIZED VIEW counts AS SELECT botid, count(*) FROM items GROUP BY botid;
SELECT lo_from_bytea(4711, decode(repeat('00ff10', 70000), 'hex'));
