// The connection and the tables. What matters beside HarmonyLite is in `connect` and in the choice of keys; README.md says why.

import Database from "better-sqlite3";

export function connect(path) {
  // Milliseconds to wait for a lock: the sidecar writes, too, for a few milliseconds at a time.
  const db = new Database(path, { timeout: 20_000 });
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.pragma("foreign_keys = ON");
  // Ids have more bits than a JavaScript number.
  db.defaultSafeIntegers(true);
  return db;
}

export function createTables(db) {
  db.exec(`
    BEGIN;
    CREATE TABLE room(
      slug TEXT PRIMARY KEY COLLATE NOCASE,
      topic TEXT NOT NULL DEFAULT '',
      settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
      slow INTEGER GENERATED ALWAYS AS (json_extract(settings, '$.slow')) VIRTUAL
    ) WITHOUT ROWID;

    -- A snowflake: milliseconds, server, counter. It is an integer, sorts by time, and no two servers make the same.
    CREATE TABLE message(
      id INTEGER PRIMARY KEY,
      room TEXT NOT NULL REFERENCES room,
      author TEXT NOT NULL,
      number INTEGER NOT NULL,
      body TEXT NOT NULL,
      digest TEXT NOT NULL,
      edited INTEGER NOT NULL DEFAULT 0,
      UNIQUE (author, number)
    );
    CREATE INDEX message_by_room ON message(room, id);

    CREATE TABLE attachment(
      message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
      name TEXT NOT NULL,
      bytes BLOB NOT NULL,
      digest TEXT NOT NULL,
      PRIMARY KEY (message, name)
    );

    CREATE TABLE reaction(
      message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
      author TEXT NOT NULL,
      emoji TEXT NOT NULL,
      PRIMARY KEY (message, author, emoji)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE read_marker(
      room TEXT NOT NULL REFERENCES room,
      reader TEXT NOT NULL,
      message INTEGER NOT NULL,
      PRIMARY KEY (room, reader)
    ) WITHOUT ROWID;

    -- Of two servers that give one nick away at the same moment, the later one has given it.
    CREATE TABLE nick(
      id TEXT PRIMARY KEY,
      nick TEXT NOT NULL UNIQUE COLLATE NOCASE,
      server INTEGER NOT NULL
    );

    -- Every node keeps this index by itself: HarmonyLite runs the three triggers for messages from other nodes, too.
    CREATE VIRTUAL TABLE message_search USING fts5(body, content = 'message', content_rowid = 'id');
    CREATE TRIGGER message_search_insert AFTER INSERT ON message BEGIN
      INSERT INTO message_search(rowid, body) VALUES (new.id, new.body);
    END;
    CREATE TRIGGER message_search_delete AFTER DELETE ON message BEGIN
      INSERT INTO message_search(message_search, rowid, body) VALUES ('delete', old.id, old.body);
    END;
    CREATE TRIGGER message_search_update AFTER UPDATE ON message BEGIN
      INSERT INTO message_search(message_search, rowid, body) VALUES ('delete', old.id, old.body);
      INSERT INTO message_search(rowid, body) VALUES (new.id, new.body);
    END;

    INSERT INTO room(slug, topic) VALUES ('General', 'anything'), ('Zürich', 'Grüezi ☃'), ('ops', 'what is down');
    COMMIT;
  `);
}
