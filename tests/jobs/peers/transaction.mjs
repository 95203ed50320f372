// A program of somebody else: one transaction that is rolled back, one that commits, and a call that is refused.
// Usage: node transaction.mjs URL KIND WORKSPACE

import pg from "pg";

const [url, kind, workspace] = process.argv.slice(2);
const client = new pg.Client({ connectionString: url });
await client.connect();

async function act(n) {
  await client.query("insert into orders values ($1)", [n]);
  const job = await client.query("select mainstay.enqueue($1, $2, priority => 3) as id", [kind, { n }]);
  const event = { action: "order.paid", actor: { id: "u_1" }, payload: { n, note: "grüße 🎉" } };
  const emitted = await client.query("select mainstay.emit($1, $2) as id", [workspace, event]);
  return { job: job.rows[0].id, event: emitted.rows[0].id };
}

await client.query("begin");
await act(1);
await client.query("rollback");
await client.query("begin");
const kept = await act(2);
await client.query("commit");
let refused;
try {
  await client.query("select mainstay.enqueue('no.such.kind')");
} catch (error) {
  refused = { code: error.code, hint: error.hint };
}
await client.end();
console.log(JSON.stringify({ kept, refused }));
