// Reads lines {secret, headers, body_base64} and writes a line of verdicts for each, by verifiers of others.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createInterface } from "node:readline";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

function verdict(check) {
  try {
    const outcome = check();
    return outcome === false ? "refused: no match" : "accepted";
  } catch (problem) {
    return `refused: ${problem.message}`;
  }
}

// A receiver that has only the parsed payload left and serialises it again.
function documented(secret, headers, body) {
  const name = Object.keys(headers).find((key) => /^x-.*-signature$/i.test(key));
  const again = JSON.stringify(JSON.parse(body.toString("utf8")));
  const expected = Buffer.from("sha256=" + createHmac("sha256", secret).update(again).digest("hex"));
  const given = Buffer.from(headers[name] ?? "");
  return expected.length === given.length && timingSafeEqual(expected, given);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body_base64 } = JSON.parse(line);
  const body = Buffer.from(body_base64, "base64");
  const verdicts = {
    standardwebhooks: verdict(() => void new Standard(secret).verify(body, headers)),
    svix: verdict(() => void new Svix(secret).verify(body, headers)),
    documented: verdict(() => documented(secret, headers, body)),
  };
  process.stdout.write(JSON.stringify(verdicts) + "\n");
}
