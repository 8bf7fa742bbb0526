-- names that are hard
CREATE TABLE "quo""te's [x].y"("rowid" TEXT PRIMARY KEY, "_rowid_", oid, "select" UNIQUE, "sp ace", "");
CREATE TABLE "ünï"("名" PRIMARY KEY ON CONFLICT REPLACE, "NEW" COLLATE RTRIM UNIQUE) WITHOUT ROWID;
CREATE TABLE __harmonyliteXnot_ours(id INTEGER PRIMARY KEY DESC, type, val_id);
CREATE TABLE sqlitelike(id INT PRIMARY KEY);
CREATE VIRTUAL TABLE words USING fts5(body);
CREATE TABLE nokey(a, b);
-- writes
INSERT INTO "quo""te's [x].y" VALUES('k', 1, 2, 3, 4, 5)
INSERT OR REPLACE INTO "quo""te's [x].y" VALUES('l', 1, 2, 3, 4, 5)
INSERT INTO "ünï" VALUES('a', 'b '), ('c', 'b')
INSERT INTO __harmonyliteXnot_ours VALUES(NULL, 1, 2), (7, 1, 2)
INSERT INTO sqlitelike VALUES('not a number'), (1.0), (CAST(x'ff' AS TEXT))
INSERT INTO words VALUES('hello world')
INSERT INTO nokey SELECT 1, 2
