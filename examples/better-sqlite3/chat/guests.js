// Guests of one server, who talk to it over HTTP, several at the same time.

import { randomBytes, randomInt, randomUUID } from "node:crypto";

const ROOMS = ["General", "Zürich", "ops"];
const WORDS = ["deploy", "snow", "it's", "\"quoted\"", "grüezi", "☃", "rollback", "lunch", "пока", "味噌"];
const EMOJI = ["👍", "🎉", "❤️"];

// Few, so that servers meet.
const NICKS = Array.from({ length: 30 }, (_, number) => `Nick${number}`);

const any = (list) => list[randomInt(list.length)];
const sentence = () => Array.from({ length: randomInt(1, 12) }, () => any(WORDS)).join(" ");

export class Guests {
  #url;
  #authors;
  #turns;

  constructor(port, server, turns) {
    this.#url = `http://127.0.0.1:${port}/`;
    this.#authors = ["ada", "bob", "eve"].map((name) => `${name}@${server}`);
    this.#turns = turns;
  }

  async talk() {
    await Promise.all(this.#authors.map((author) => this.#visit(author)));
  }

  async #visit(author) {
    while (this.#turns.next()) {
      const room = any(ROOMS);
      switch (randomInt(8)) {
        case 0: await this.#return(author, room, "edit", { body: `${sentence()} (edited)` }); break;
        case 1: await this.#return(author, room, "react", { emoji: any(EMOJI) }); break;
        case 2: await this.#call("describe", { room: room.toLowerCase(), topic: sentence(), slow: randomInt(60) }); break;
        case 3: await this.#call("takeNick", { id: randomUUID(), nick: any(NICKS) }); break;
        case 4: await this.#call("search", any(["deploy", "snow NOT lunch", "roll*"])); break;
        case 5: if (randomInt(3) === 0) await this.#call("retract", { author }); break;
        default: await this.#call("post", { room, author, body: sentence(), attachments: attachments() });
      }
    }
  }

  // Does something to an own message, if one is among the latest of the room.
  async #return(author, room, call, what) {
    const latest = await this.#call("latest", room);
    const own = latest.find((message) => message.author === author);
    if (own !== undefined) await this.#call(call, { id: own.id, author, ...what });
  }

  async #call(name, argument) {
    const response = await fetch(this.#url + name, { method: "POST", body: JSON.stringify(argument) });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${name} failed: ${answer.error}`);
    return answer;
  }
}

function attachments() {
  const sizes = any([[], [], [0], [3, 5000]]);
  return sizes.map((size, number) => ({ name: `file ${number}`, base64: randomBytes(size).toString("base64") }));
}
