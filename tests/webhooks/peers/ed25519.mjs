// Reads {key, id, timestamp, signature, body} and says whether a v1a token holds, by node:crypto alone.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const { key, id, timestamp, signature, body } = JSON.parse(readFileSync(0, "utf8"));
const raw = Buffer.from(key.replace(/^whpk_/, ""), "base64");
const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });
const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.from(body, "base64")]);
const holds = signature
  .split(" ")
  .filter((token) => token.startsWith("v1a,"))
  .some((token) => verify(null, signed, publicKey, Buffer.from(token.slice(4), "base64")));
process.stdout.write(holds ? "accepted\n" : "refused\n");
