"""How a receiver checks a signature, in four languages, for shared secrets and for public keys."""

_HMAC = {
    "Python": '''import base64, hmac, os, time

SECRET = os.environ["WEBHOOK_SECRET"]  # whsec_…


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """`headers` by their names in lower case, `body` byte for byte as it came."""
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > 300:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{sent}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    tokens = headers["webhook-signature"].encode().split()
    return any(hmac.compare_digest(token, expected) for token in tokens)
''',
    "Node": """import { createHmac, timingSafeEqual } from "node:crypto";

const secret = process.env.WEBHOOK_SECRET; // whsec_…

export function isGenuine(headers, body) { // body: a Buffer, byte for byte as it came
  const sent = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${sent}.`), body]);
  const expected = Buffer.from("v1," + createHmac("sha256", key).update(signed).digest("base64"));
  return headers["webhook-signature"].split(" ").some((token) => {
    const given = Buffer.from(token);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
""",
    "Go": """import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func IsGenuine(header http.Header, body []byte) bool { // body: byte for byte as it came
	sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	age := time.Now().Unix() - sent
	if err != nil || age > 300 || age < -300 {
		return false
	}
	secret := strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", header.Get("webhook-id"), sent)
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, token := range strings.Fields(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(token), []byte(expected)) {
			return true
		}
	}
	return false
}
""",
    "Ruby": """require "base64"
require "openssl"

def genuine?(headers, body) # names in lower case; body byte for byte as it came
  sent = Integer(headers.fetch("webhook-timestamp"), 10)
  return false if (Time.now.to_i - sent).abs > 300
  key = Base64.strict_decode64(ENV.fetch("WEBHOOK_SECRET").delete_prefix("whsec_"))
  signed = "#{headers.fetch("webhook-id")}.#{sent}.#{body}"
  expected = "v1," + Base64.strict_encode64(OpenSSL::HMAC.digest("SHA256", key, signed))
  headers.fetch("webhook-signature").split.any? { |token| OpenSSL.secure_compare(token, expected) }
end
""",
}

_ED25519 = {
    "Python": '''import base64, os, time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY = base64.b64decode(os.environ["WEBHOOK_PUBLIC_KEY"].removeprefix("whpk_"))


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """`headers` by their names in lower case, `body` byte for byte as it came."""
    sent = headers["webhook-timestamp"]
    if abs(time.time() - int(sent)) > 300:
        return False
    signed = f"{headers['webhook-id']}.{sent}.".encode() + body
    for token in headers["webhook-signature"].split():
        if token.startswith("v1a,"):
            try:
                Ed25519PublicKey.from_public_bytes(KEY).verify(base64.b64decode(token[4:]), signed)
                return True
            except InvalidSignature:
                pass
    return False
''',
    "Node": """import { createPublicKey, verify } from "node:crypto";

const raw = Buffer.from(process.env.WEBHOOK_PUBLIC_KEY.replace(/^whpk_/, ""), "base64");
const key = createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
  format: "jwk",
});

export function isGenuine(headers, body) { // body: a Buffer, byte for byte as it came
  const sent = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) return false;
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${sent}.`), body]);
  return headers["webhook-signature"].split(" ").some((token) =>
    token.startsWith("v1a,") && verify(null, signed, key, Buffer.from(token.slice(4), "base64")));
}
""",
    "Go": """import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func IsGenuine(header http.Header, body []byte) bool { // body: byte for byte as it came
	sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	age := time.Now().Unix() - sent
	if err != nil || age > 300 || age < -300 {
		return false
	}
	text := strings.TrimPrefix(os.Getenv("WEBHOOK_PUBLIC_KEY"), "whpk_")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false
	}
	signed := append([]byte(fmt.Sprintf("%s.%d.", header.Get("webhook-id"), sent)), body...)
	for _, token := range strings.Fields(header.Get("webhook-signature")) {
		encoded, found := strings.CutPrefix(token, "v1a,")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if found && err == nil && ed25519.Verify(key, signed, signature) {
			return true
		}
	}
	return false
}
""",
    "Ruby": """require "base64"
require "openssl"

def genuine?(headers, body) # names in lower case; body byte for byte as it came
  sent = Integer(headers.fetch("webhook-timestamp"), 10)
  return false if (Time.now.to_i - sent).abs > 300
  raw = Base64.strict_decode64(ENV.fetch("WEBHOOK_PUBLIC_KEY").delete_prefix("whpk_"))
  key = OpenSSL::PKey.new_raw_public_key("ED25519", raw)
  signed = "#{headers.fetch("webhook-id")}.#{sent}.#{body}"
  headers.fetch("webhook-signature").split.any? do |token|
    token.start_with?("v1a,") && key.verify(nil, Base64.strict_decode64(token[4..]), signed)
  end
end
""",
}


def samples_of(signing: str) -> dict[str, str]:
    """By language the code that checks a message signed that way."""
    return _ED25519 if signing == "ed25519" else _HMAC
