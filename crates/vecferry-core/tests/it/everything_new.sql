-- What pgvector 0.7 and later add.
CREATE TABLE modern (id int PRIMARY KEY, h halfvec(6), s sparsevec(1000), b bit(12), v vector(6), vs vector(6)[]);
INSERT INTO modern SELECT g, ARRAY[g, 1, 2, 3, 4, 0.1]::real[]::halfvec, format('{1:%s,%s:2.5}/1000', g, 2 + g % 900)::sparsevec,
  g::bit(12), ARRAY[g, 0, 0, 0, 0, 1]::real[]::vector, ARRAY[ARRAY[g, 0, 0, 0, 0, 1]::real[]::vector] FROM generate_series(1, 1200) g;
INSERT INTO modern (id) VALUES (0);
CREATE INDEX modern_h ON modern USING hnsw (h halfvec_cosine_ops);
CREATE INDEX modern_s ON modern USING hnsw (s sparsevec_l2_ops);
CREATE INDEX modern_b ON modern USING hnsw (b bit_hamming_ops);
CREATE INDEX modern_q ON modern USING hnsw ((binary_quantize(v)::bit(6)) bit_hamming_ops);
CREATE INDEX modern_c ON modern USING hnsw ((v::halfvec(6)) halfvec_l2_ops) WHERE id > 10;
CREATE INDEX modern_i ON modern USING ivfflat (h halfvec_l2_ops) WITH (lists = 5);
CREATE TABLE spans (id int4range, at daterange, price int GENERATED ALWAYS AS (lower(id) * 2) VIRTUAL,
  CONSTRAINT spans_pk PRIMARY KEY (id, at WITHOUT OVERLAPS));
INSERT INTO spans VALUES ('[1,2)', '[2020-01-01,2021-01-01)'), ('[1,2)', '[2021-01-01,2022-01-01)');
