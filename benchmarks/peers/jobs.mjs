// BullMQ under Node on the same work: `node jobs.mjs fill|drain redis|postgres URL COUNT CONCURRENCY`.
import { Queue, Worker, createPostgresBackend } from "bullmq";
import Redis from "ioredis";
import pg from "pg";

const PAYLOAD = {
  to: "someone@example.com",
  template: "welcome",
  data: { name: "Someone", note: "x".repeat(120) },
};
const CHUNK = 500;
const [mode, store, url, count, concurrency] = process.argv.slice(2);
const jobs = Number(count);
const connection =
  store === "redis" ? { url, maxRetriesPerRequest: null } : { connectionString: url, max: 10, migrate: true };
const backend = store === "redis" ? [] : [createPostgresBackend];

async function fill() {
  if (store === "redis") {
    const client = new Redis(url);
    await client.flushall();
    await client.quit();
  }
  const queue = new Queue("bench", { connection }, ...backend);
  const one = { name: "nothing", data: PAYLOAD, opts: { removeOnComplete: true } };
  for (let start = 0; start < jobs; start += CHUNK) {
    await queue.addBulk(Array(Math.min(CHUNK, jobs - start)).fill(one));
  }
  await queue.close();
  if (store === "postgres") {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query("vacuum analyze");
    await client.end();
  }
}

// The first jobs only warm the compiler, as in a service that has run for a while; they are not in the figures.
async function drain() {
  const warming = Math.min(2_000, Math.floor(jobs / 10));
  let completed = 0;
  let cpu = process.cpuUsage();
  let started = process.hrtime.bigint();
  const worker = new Worker(
    "bench",
    async () => {},
    { connection, concurrency: Number(concurrency) },
    ...backend,
  );
  await new Promise((resolve, reject) => {
    worker.on("error", reject);
    worker.on("failed", (_, problem) => reject(problem));
    worker.on("completed", () => {
      completed += 1;
      if (completed === warming) {
        cpu = process.cpuUsage();
        started = process.hrtime.bigint();
      }
      if (completed >= jobs) resolve();
    });
  });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  console.log(completed - warming, seconds, (user + system) / 1e6);
  await worker.close(true);
}

await (mode === "fill" ? fill() : drain());
process.exit(0);
