//! The tables of the application, and how a row of each is named.

/// A table whose rows carry the tag of the transaction that wrote them last.
pub(in super::super) struct Table {
    pub(in super::super) name: &'static str,
    pub(in super::super) key: &'static [&'static str],
}

/// All of them. `ledger` and `receipt` get one row of every transaction, which nobody ever touches again.
pub(in super::super) const TABLES: &[Table] = &[
    Table { name: "ledger", key: &["tag"] },
    Table { name: "receipt", key: &["tag"] },
    Table { name: "account", key: &["id"] },
    Table { name: "item", key: &["warehouse", "sku"] },
    Table { name: "note", key: &["id"] },
    Table { name: "transfer", key: &["id"] },
];

pub(in super::super) const SCHEMA: &str = "
    CREATE TABLE ledger(tag TEXT PRIMARY KEY, payload BLOB) WITHOUT ROWID;
    CREATE TABLE receipt(tag TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE account(id INTEGER PRIMARY KEY, email TEXT UNIQUE, nick TEXT COLLATE NOCASE UNIQUE, balance INTEGER,
        tag TEXT NOT NULL);
    CREATE TABLE item(warehouse TEXT COLLATE NOCASE, sku INTEGER, serial TEXT UNIQUE, amount REAL, tag TEXT NOT NULL,
        PRIMARY KEY(warehouse, sku)) WITHOUT ROWID;
    CREATE TABLE note(id INTEGER PRIMARY KEY, title TEXT, body TEXT, tag TEXT NOT NULL);
    CREATE TABLE transfer(id TEXT PRIMARY KEY NOT NULL, source INTEGER, target INTEGER, amount INTEGER,
        tag TEXT NOT NULL);
    CREATE VIRTUAL TABLE note_text USING fts5(title, body, content='note', content_rowid='id');
    CREATE TRIGGER note_insert AFTER INSERT ON note BEGIN
        INSERT INTO note_text(rowid, title, body) VALUES(new.id, new.title, new.body);
    END;
    CREATE TRIGGER note_delete AFTER DELETE ON note BEGIN
        INSERT INTO note_text(note_text, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
    END;
    CREATE TRIGGER note_update AFTER UPDATE ON note BEGIN
        INSERT INTO note_text(note_text, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
        INSERT INTO note_text(rowid, title, body) VALUES(new.id, new.title, new.body);
    END;";

impl Table {
    /// An expression for the key as one text, from columns named `<prefix><key column>`: equal for spellings that the
    /// collations of our tables (NOCASE, or none) call equal. No other text key has capitals.
    pub(in super::super) fn key_text(&self, prefix: &str) -> String {
        let parts: Vec<String> = self.key.iter().map(|column| format!("quote({prefix}{column})")).collect();
        format!("lower({})", parts.join(" || ',' || "))
    }
}
