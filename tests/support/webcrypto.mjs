// Verifies signatures with the WebCrypto of Node alone. It reads a JSON array of {jwk, signature, payload} (base64) from standard
// input, imports each key as the key set has it, and prints an array of true and false.
import { readFileSync } from "node:fs";

const PARAMETERS = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  EdDSA: { name: "Ed25519" },
  PS256: { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 },
};

async function verify({ jwk, signature, payload }) {
  const parameters = PARAMETERS[jwk.alg];
  const key = await crypto.subtle.importKey("jwk", jwk, parameters, false, jwk.key_ops);
  return crypto.subtle.verify(parameters, key, Buffer.from(signature, "base64"), Buffer.from(payload, "base64"));
}

console.log(JSON.stringify(await Promise.all(JSON.parse(readFileSync(0, "utf8")).map(verify))));
