// The program: node main.js DATABASE COMMAND. What it has to report is JSON.
//
//   open                          make the tables, with some rooms
//   serve SERVER PORT             the chat server; SERVER is a number of its own for each
//   talk SERVER [TURNS]           a server, and guests who talk to it over HTTP
//   watch                         looks for messages that have arrived in part, while others talk
//   check SERVER                  check everything; say what the guests of a server have done
//
// Without TURNS, `talk` (as `watch`) says `ready`, begins when a line is typed, and goes on until its input ends.

import { setTimeout as pause } from "node:timers/promises";

import { checkAll, look, report } from "./chat/check.js";
import { connect, createTables } from "./chat/database.js";
import { Guests } from "./chat/guests.js";
import { Rooms } from "./chat/rooms.js";
import { serve } from "./chat/server.js";
import { Turns } from "./chat/turns.js";

const COMMANDS = {
  open(db) {
    createTables(db);
  },

  async serve(db, server, port) {
    const { port: chosen } = (await serve(new Rooms(db, server), Number(port))).address();
    console.log(`http://127.0.0.1:${chosen}/`);
  },

  async talk(db, server, turns) {
    const listening = await serve(new Rooms(db, server), 0);
    const limit = turns === undefined ? await Turns.typed() : new Turns(Number(turns));
    await new Guests(listening.address().port, server, limit).talk();
    listening.close();
    listening.closeIdleConnections();
    return report(db, server);
  },

  async watch(db) {
    const turns = await Turns.typed();
    let looks = 0;
    while (turns.next()) {
      // One transaction: all queries see the same moment.
      db.transaction(() => look(db)).deferred();
      looks += 1;
      await pause(200);
    }
    return { looks };
  },

  check(db, server) {
    checkAll(db);
    return report(db, server);
  },
};

const [path, name, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, name ?? "")) {
  console.error(`node main.js DATABASE ${Object.keys(COMMANDS).join("|")}, see main.js`);
  process.exit(2);
}
const result = await COMMANDS[name](connect(path), ...rest);
if (result !== undefined) console.log(JSON.stringify(result));
