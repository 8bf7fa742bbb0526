// What must be true of the chat on any node at any moment, whoever wrote what.

import { digestOf } from "./rooms.js";

// Faults, each found by a query that names it; no row is no fault.
const FAULTS = {
  "messages are not numbered from one without a gap":
    "SELECT author AS what FROM message GROUP BY author HAVING count(*) <> max(number) OR min(number) <> 1",
  "a message has no room": "SELECT id AS what FROM message WHERE room NOT IN (SELECT slug FROM room)",
  "an attachment has no message": "SELECT message AS what FROM attachment WHERE message NOT IN (SELECT id FROM message)",
  "a reaction has no message": "SELECT message AS what FROM reaction WHERE message NOT IN (SELECT id FROM message)",
  "there are attachments, and some are missing":
    "SELECT message AS what FROM attachment GROUP BY message HAVING NOT max(name = 'file 0')",
};

// What the guests of one server have done. Nobody else writes these rows.
const REPORT = `
  SELECT json_object(
    'messages', count(*),
    'edits', sum(edited),
    'attachments', (SELECT count(*) FROM attachment JOIN message ON id = message WHERE author LIKE '%@' || :server),
    'reactions', (SELECT count(*) FROM reaction WHERE author LIKE '%@' || :server),
    'markers', (SELECT count(*) FROM read_marker WHERE reader LIKE '%@' || :server)) AS counts,
    group_concat(id || digest || edited) AS contents
  FROM (SELECT * FROM message WHERE author LIKE '%@' || :server ORDER BY id)`;

export function look(db) {
  for (const [fault, sql] of Object.entries(FAULTS)) {
    const found = db.prepare(sql).get();
    if (found) throw new Error(`${fault}: ${found.what}`);
  }
}

// Everything, also what takes longer: the text index, and every content against its digest.
export function checkAll(db) {
  look(db);
  db.exec("INSERT INTO message_search(message_search, rank) VALUES ('integrity-check', 1)");
  for (const word of ["deploy", "rollback"]) {
    const found = "SELECT rowid FROM message_search WHERE message_search MATCH ?";
    const there = "SELECT id FROM message WHERE body LIKE '%' || ? || '%'";
    const odd = db.prepare(`SELECT * FROM (${found} EXCEPT ${there}) UNION ALL SELECT * FROM (${there} EXCEPT ${found})`).get(word, word, word, word);
    if (odd) throw new Error(`the index does not find ${word} where it is: ${odd.rowid}`);
  }
  for (const [table, column] of [["message", "body"], ["attachment", "bytes"]]) {
    for (const { content, digest } of db.prepare(`SELECT ${column} AS content, digest FROM ${table}`).iterate()) {
      if (digestOf(content) !== digest) throw new Error(`a ${column} in ${table} is not what was sent`);
    }
  }
}

export function report(db, server) {
  const { counts, contents } = db.prepare(REPORT).get({ server: String(server) });
  return { ...JSON.parse(counts), digest: digestOf(contents ?? "") };
}
