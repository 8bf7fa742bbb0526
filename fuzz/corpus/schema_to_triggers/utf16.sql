-- another encoding
PRAGMA encoding = 'UTF-16le';
PRAGMA page_size = 512;
CREATE TABLE t(id TEXT PRIMARY KEY COLLATE NOCASE, v DEFAULT (1 + 1));
-- writes
INSERT INTO t(id) VALUES('ü'), ('a' || char(0) || 'b')
INSERT OR IGNORE INTO t SELECT upper(id), v FROM t
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO t SELECT i, zeroblob(i) FROM n
UPDATE t SET v = -9e999 WHERE id = '7'
SAVEPOINT s; DELETE FROM t; ROLLBACK TO s
