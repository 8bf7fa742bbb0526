// How long everybody goes on: so many turns, or until somebody says that it is enough.

import { createInterface } from "node:readline";

export class Turns {
  #left;

  constructor(number) {
    this.#left = number;
  }

  // Says `ready`, begins when a line is typed, and is over when the input ends.
  static async typed() {
    const turns = new Turns(Infinity);
    const lines = createInterface({ input: process.stdin });
    console.log("ready");
    await new Promise((resolve) => lines.once("line", resolve));
    lines.once("close", () => (turns.#left = 0));
    return turns;
  }

  // Whether there is another one.
  next() {
    return this.#left-- > 0;
  }
}
