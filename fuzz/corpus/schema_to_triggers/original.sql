-- tables of the original
CREATE TABLE __marmot___change_log_global(id integer);
CREATE TABLE __harmonylite___change_log_global(id INTEGER PRIMARY KEY, change_table_id INTEGER, table_name TEXT);
CREATE TABLE t(id INTEGER PRIMARY KEY);
-- writes
INSERT INTO t VALUES(1)
