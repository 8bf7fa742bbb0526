// The chat over HTTP: every call is a POST with JSON, every answer is JSON. Ids travel as text.

import { createServer } from "node:http";

const CALLS = ["post", "edit", "retract", "react", "mark", "takeNick", "describe", "search", "latest"];

// Listens on loopback only; port 0 lets the system choose. Gives the server once it listens.
export function serve(rooms, port) {
  const server = createServer(async (request, response) => {
    try {
      const call = request.url.slice(1);
      if (request.method !== "POST" || !CALLS.includes(call)) return answer(response, 404, { error: "no such call" });
      answer(response, 200, rooms[call](await body(request)));
    } catch (error) {
      answer(response, 500, { error: `${error.code ?? ""} ${error.message}` });
    }
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

async function body(request) {
  let text = "";
  for await (const part of request.setEncoding("utf8")) text += part;
  return JSON.parse(text, (key, value) => (key === "id" || key === "message") && /^\d+$/.test(value) ? BigInt(value) : value);
}

function answer(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value, (_, value) => (typeof value === "bigint" ? value.toString() : value)));
}
