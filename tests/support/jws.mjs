// Verifies detached JWS (RFC 7515, appendix F) with Node alone. It reads a JSON array of {jwk, jws, payload} (payload in base64) from
// standard input, and prints an array with the protected header of each, or null if it is not valid.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const OPTIONS = {
  ES256: ["sha256", { dsaEncoding: "ieee-p1363" }],
  EdDSA: [null, {}],
  PS256: ["sha256", { padding: 6, saltLength: 32 }],
};

function read({ jwk, jws, payload }) {
  const [header, detached, signature] = jws.split(".");
  const found = JSON.parse(Buffer.from(header, "base64url"));
  const signed = `${header}.${Buffer.from(payload, "base64").toString("base64url")}`;
  const [hash, options] = OPTIONS[found.alg];
  const key = { key: createPublicKey({ key: jwk, format: "jwk" }), ...options };
  const valid = detached === "" && verify(hash, Buffer.from(signed), key, Buffer.from(signature, "base64url"));
  return valid ? found : null;
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(read)));
