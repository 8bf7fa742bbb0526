// What the chat can do, as prepared statements and transactions.

import { createHash } from "node:crypto";

export const digestOf = (data) => createHash("sha256").update(data).digest("hex");

export class Rooms {
  #db;
  #server;
  #last = 0n;
  #statements;

  constructor(db, server) {
    this.#db = db;
    this.#server = BigInt(server);
    this.#statements = prepare(db);
    // IMMEDIATE: a transaction that reads first and writes later asks for the write lock when it begins. Else SQLite
    // refuses the write when anybody, the sidecar too, has committed in between.
    for (const name of ["post", "edit", "takeNick"]) this[name] = db.transaction(this[name].bind(this)).immediate;
  }

  // A message with its attachments: all of it or nothing. Authors number their messages without a gap.
  post({ room, author, body, attachments = [] }) {
    const { number } = this.#statements.nextNumber.get(author);
    const id = this.#snowflake();
    this.#statements.insertMessage.run({ id, room, author, number, body, digest: digestOf(body) });
    for (const { name, base64 } of attachments) {
      const bytes = Buffer.from(base64, "base64");
      this.#statements.insertAttachment.run(id, name, bytes, digestOf(bytes));
    }
    this.mark({ room, reader: author, message: id });
    return { id, number };
  }

  edit({ id, author, body }) {
    const message = this.#statements.message.get(id);
    if (message?.author !== author) return { changed: 0 };
    return this.#statements.editMessage.get({ id, body, digest: digestOf(body) });
  }

  // The last message of an author goes, with attachments and reactions: the next one has its number.
  retract({ author }) {
    return { removed: this.#statements.deleteLast.run(author).changes };
  }

  react({ id, author, emoji }) {
    const added = this.#statements.insertReaction.run(id, author, emoji).changes;
    if (added === 0) this.#statements.deleteReaction.run(id, author, emoji);
    return { added };
  }

  // A marker moves forward only.
  mark({ room, reader, message }) {
    return { moved: this.#statements.mark.run(room, reader, message).changes };
  }

  takeNick({ id, nick }) {
    if (this.#statements.nickOwner.get(nick)) return { taken: this.#statements.dropNick.run(nick).changes };
    this.#statements.insertNick.run(id, nick, this.#server);
    return { taken: 0 };
  }

  // What everybody changes: of two topics the later one stays, on all servers.
  describe({ room, topic, slow }) {
    return this.#statements.describe.get({ room, topic, slow });
  }

  search(words) {
    return this.#statements.search.all(words);
  }

  latest(room) {
    return this.#statements.latest.all(room);
  }

  #snowflake() {
    const now = (BigInt(Date.now()) << 18n) | (this.#server << 12n);
    this.#last = now > this.#last ? now : this.#last + 1n;
    return this.#last;
  }
}

function prepare(db) {
  return {
    nextNumber: db.prepare("SELECT coalesce(max(number), 0) + 1 AS number FROM message WHERE author = ?"),
    insertMessage: db.prepare(
      "INSERT INTO message(id, room, author, number, body, digest) VALUES (:id, :room, :author, :number, :body, :digest)",
    ),
    insertAttachment: db.prepare("INSERT INTO attachment(message, name, bytes, digest) VALUES (?, ?, ?, ?)"),
    message: db.prepare("SELECT author FROM message WHERE id = ?"),
    editMessage: db.prepare(
      "UPDATE message SET body = :body, digest = :digest, edited = edited + 1 WHERE id = :id RETURNING edited AS changed",
    ),
    deleteLast: db.prepare("DELETE FROM message WHERE id = (SELECT id FROM message WHERE author = ? ORDER BY number DESC LIMIT 1)"),
    insertReaction: db.prepare("INSERT OR IGNORE INTO reaction VALUES (?, ?, ?)"),
    deleteReaction: db.prepare("DELETE FROM reaction WHERE message = ? AND author = ? AND emoji = ?"),
    mark: db.prepare(`
      INSERT INTO read_marker VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET message = excluded.message WHERE excluded.message > message`),
    nickOwner: db.prepare("SELECT id FROM nick WHERE nick = ?"),
    dropNick: db.prepare("DELETE FROM nick WHERE nick = ?"),
    insertNick: db.prepare("INSERT INTO nick VALUES (?, ?, ?)"),
    describe: db.prepare(`
      UPDATE room SET topic = :topic, settings = json_set(settings, '$.slow', :slow) WHERE slug = :room RETURNING slug, topic, slow`),
    search: db.prepare(`
      SELECT message.id, author, highlight(message_search, 0, '*', '*') AS body FROM message_search
      JOIN message ON message.id = message_search.rowid WHERE message_search MATCH ? ORDER BY rank LIMIT 20`),
    latest: db.prepare("SELECT id, author, number, body FROM message WHERE room = ? ORDER BY id DESC LIMIT 20"),
  };
}
