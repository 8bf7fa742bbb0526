-- tables of ours, without the rest
CREATE TABLE __harmonylite__leftover(x);
CREATE TABLE t(id INTEGER PRIMARY KEY);
-- writes
INSERT INTO t VALUES(1)
