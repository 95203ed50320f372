// Deliveries as a Node service makes them: BullMQ on Redis carries them, undici sends, PostgreSQL keeps the log.
//   node delivery.mjs fill REDIS_URL POSTGRES_URL SINK_URL <bodies as JSON on stdin>
//   node delivery.mjs work REDIS_URL POSTGRES_URL SINK_URL CONCURRENCY
import { createHmac, randomBytes } from "node:crypto";
import { Queue, Worker } from "bullmq";
import pg from "pg";
import { Pool } from "undici";

const [mode, redis, postgres, sink, concurrency] = process.argv.slice(2);
const connection = { url: redis, maxRetriesPerRequest: null };
const QUEUE = "deliveries";
const CHUNK = 500;
const ENDPOINTS = 50;

const ADD = `
insert into peer.deliveries (url, secret, body) select $1, s, b from unnest($2::text[], $3::text[]) as r (s, b)
returning id`;
const RECORD = `
with r as (select * from unnest($1::bigint[], $2::float8[], $3::int[], $4::smallint[], $5::text[])
             as r (id, started, duration_ms, status, response)),
done as (update peer.deliveries d set status = 'DELIVERED', updated_at = clock_timestamp()
           from r where d.id = r.id and d.status = 'PENDING' returning d.id)
insert into peer.attempts
select r.id, to_timestamp(r.started), r.duration_ms, r.status, r.response from r join done using (id)`;

// The queue waits, paused, until everything is in it, as the worker is not to starve while it is being filled.
async function fill() {
  let text = "";
  for await (const part of process.stdin) text += part;
  const bodies = JSON.parse(text);
  const secrets = Array.from({ length: ENDPOINTS }, () => "whsec_" + randomBytes(32).toString("base64"));
  const database = new pg.Client({ connectionString: postgres });
  await database.connect();
  const queue = new Queue(QUEUE, { connection });
  await queue.pause();
  for (let start = 0; start < bodies.length; start += CHUNK) {
    const some = bodies.slice(start, start + CHUNK);
    const keys = some.map((_, n) => secrets[n % ENDPOINTS]);
    const { rows } = await database.query(ADD, [sink, keys, some]);
    await queue.addBulk(
      rows.map(({ id }, n) => ({
        name: "deliver",
        data: { id, url: sink, secret: keys[n], type: "invoice.paid", body: some[n] },
        opts: { removeOnComplete: true, attempts: 5, backoff: { type: "exponential", delay: 60_000 } },
      })),
    );
  }
  await queue.resume();
  await queue.close();
  await database.end();
}

function headersFor({ id, secret, type, body }, seconds) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const token = createHmac("sha256", key).update(`${id}.${seconds}.${body}`).digest("base64");
  return {
    "content-type": "application/json",
    "user-agent": "peer-webhooks/1",
    "x-peer-event": type,
    "x-peer-signature": "sha256=" + createHmac("sha256", secret).update(body).digest("hex"),
    "webhook-id": id,
    "webhook-timestamp": String(seconds),
    "webhook-signature": `v1,${token}`,
  };
}

// Results wait for one another only while a statement is under way: what came meanwhile goes into the next one.
class Recorder {
  #database = new pg.Pool({ connectionString: postgres, max: 2 });
  #waiting = [];
  #writing = 0;

  record(row) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ row, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#write());
    });
  }

  async #write() {
    if (this.#writing >= 2 || this.#waiting.length === 0) return;
    this.#writing += 1;
    const some = this.#waiting.splice(0, CHUNK);
    const columns = [0, 1, 2, 3, 4].map((n) => some.map(({ row }) => row[n]));
    try {
      await this.#database.query({ name: "record", text: RECORD, values: columns });
      for (const one of some) one.resolve();
    } catch (problem) {
      for (const one of some) one.reject(problem);
    }
    this.#writing -= 1;
    await this.#write();
  }
}

function work() {
  const { origin, pathname } = new URL(sink);
  const pool = new Pool(origin, { connections: Number(concurrency), pipelining: 1, headersTimeout: 10_000 });
  const recorder = new Recorder();

  async function deliver({ data }) {
    const began = Date.now();
    const headers = headersFor(data, Math.floor(began / 1000));
    const answer = await pool.request({ path: pathname, method: "POST", headers, body: data.body });
    const text = await answer.body.text();
    await recorder.record([data.id, began / 1000, Date.now() - began, answer.statusCode, text.slice(0, 4096)]);
    if (answer.statusCode >= 300) throw new Error(`the receiver answered ${answer.statusCode}`);
  }

  const worker = new Worker(QUEUE, deliver, { connection, concurrency: Number(concurrency) });
  worker.on("error", (problem) => console.error(problem));
  worker.on("failed", (_, problem) => console.error(problem));
  process.on("SIGTERM", () => worker.close(true).finally(() => process.exit(0)));
}

await (mode === "fill" ? fill() : work());
