-- generated columns, partial and expression indexes
CREATE TABLE g(id TEXT PRIMARY KEY NOT NULL, v, low AS (lower(v)) UNIQUE, half UNIQUE);
CREATE UNIQUE INDEX g_part ON g(v COLLATE NOCASE) WHERE half > 2;
CREATE UNIQUE INDEX g_expression ON g(v || '-' || coalesce(half, 'none'));
INSERT INTO g(id, v, half) VALUES('a', 'A', 1);
-- writes
INSERT INTO g(id, v, half) VALUES('b', 'B', 3)
INSERT OR REPLACE INTO g(id, v, half) VALUES('c', 'b', 3)
UPDATE g SET v = 'Z' WHERE id = 'a'
