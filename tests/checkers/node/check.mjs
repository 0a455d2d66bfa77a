// Says whether a record's proof holds: "yes" and exit code 0, or "no", a reason and exit code 1. It has no code of VaultStream,
// and nothing but Node.
//
// Usage: node check.mjs FOLDER SEAL_VKEY ORIGIN KEY_PEM. The folder has record.json, statement.json, statement.tlog-proof and payload.
import { constants, createHash, createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const STATEMENT_TYPE = 'application/vnd.vaultstream.batch-statement.v1+json'

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const leafHash = (data) => sha256(Buffer.from([0]), data)
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right)

function require(condition, reason) {
  if (!condition) throw new Error(reason)
}

/** Decodes base64 or hex, and nothing else: Buffer.from alone skips what it can't read. */
function decode(text, encoding, bytes) {
  const data = Buffer.from(text, encoding)
  require(data.toString(encoding) === text && (bytes === undefined || data.length === bytes), `malformed ${encoding}`)
  return data
}

/** Reads a number without leading zeroes. */
function decimal(text) {
  require(/^(0|[1-9][0-9]{0,18})$/.test(text), 'malformed number')
  return BigInt(text)
}

/** Checks that the path leads from a leaf to the root: RFC 9162, section 2.1.3.2. */
function requireIncluded(leaf, index, size, path, root, what) {
  require(index < size, `${what}: there is no such place`)
  let [node, last, hash] = [index, size - 1n, leaf]
  for (const sibling of path) {
    require(last !== 0n, `${what}: the path is too long`)
    if (node % 2n === 1n || node === last) {
      hash = nodeHash(sibling, hash)
      while (node % 2n === 0n && node !== 0n) [node, last] = [node / 2n, last / 2n]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[node, last] = [node / 2n, last / 2n]
  }
  require(last === 0n && hash.equals(root), `${what}: the path does not lead to the root`)
}

/** Returns the text of a signed note whose key with this vkey has signed it. */
function openNote(note, vkey) {
  const [, name, id, encoded] = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey)
  const material = decode(encoded, 'base64', 33)
  const keyId = sha256(Buffer.from(`${name}\n`), material).subarray(0, 4)
  require(material[0] === 1 && keyId.toString('hex') === id, 'the seal key is malformed')
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: material.subarray(1).toString('base64url') },
    format: 'jwk',
  })
  const end = note.lastIndexOf('\n\n')
  require(end >= 0 && note.endsWith('\n') && !/[\0-\x09\x0b-\x1f]/.test(note), 'the note is malformed')
  const text = note.slice(0, end + 1)
  let signed = false
  for (const line of note.slice(end + 2, -1).split('\n')) {
    const parts = /^— ([^+\s]+) (\S+)$/.exec(line)
    require(parts, 'the note is malformed')
    const signature = decode(parts[2], 'base64')
    if (parts[1] !== name || !signature.subarray(0, 4).equals(keyId)) continue
    require(verify(null, Buffer.from(text), key, signature.subarray(4)), 'the signature of the note is not valid')
    signed = true
  }
  require(signed, 'the note is not signed by the seal key')
  return text
}

/** Returns whether a signature by the batch's key is valid. */
function isSigned(key, data, signature) {
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO }
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return verify(null, data, key, signature)
    case 'ec':
      return verify('sha256', data, key, signature)
    case 'rsa':
      return verify('sha256', data, { key, ...pss }, signature)
    default:
      return false
  }
}

function check(folder, vkey, origin, pem) {
  const read = (name) => readFileSync(join(folder, name))
  const key = createPublicKey(readFileSync(pem))

  // 1. The seal key signed the head of the job's log, and the statement is an entry of that log.
  const proof = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(read('statement.tlog-proof'))
  const gap = proof.indexOf('\n\n')
  const [header, place, ...path] = proof.slice(0, gap).split('\n')
  require(gap >= 0 && header === 'c2sp.org/tlog-proof@v1' && place?.startsWith('index '), 'the proof is malformed')
  const [log, size, root, ...rest] = openNote(proof.slice(gap + 2), vkey).split('\n')
  require(log === origin && rest.at(-1) === '', 'the checkpoint is malformed, or of another log')
  const entry = read('statement.json')
  const hashes = path.map((line) => decode(line, 'base64', 32))
  const index = decimal(place.slice('index '.length))
  requireIncluded(leafHash(entry), index, decimal(size), hashes, decode(root, 'base64', 32), 'the statement in the log')

  // 2. The batch's key signed the statement.
  const { payloadType, payload, signatures } = JSON.parse(entry)
  require(payloadType === STATEMENT_TYPE && signatures.length === 1, 'the statement is malformed')
  const body = decode(payload, 'base64')
  const encoded = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `), body])
  require(isSigned(key, encoded, decode(signatures[0].sig, 'base64')), 'the signature of the statement is not valid')
  const statement = JSON.parse(body)

  // 3. The same key signed the record, and the record is one of the statement's batch.
  const record = JSON.parse(read('record.json'))
  const digest = sha256(read('payload'))
  const signature = decode(record.signature, 'base64')
  require(digest.toString('hex') === record.payloadSha256, 'the payload is not the record’s')
  require(isSigned(key, read('payload'), signature), 'the signature of the record is not valid')
  const id = Buffer.from(record.id)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(id.length)
  const leaf = leafHash(Buffer.concat([length, id, digest, signature]))
  const batchPath = record.path.map((line) => decode(line, 'hex', 32))
  const batchRoot = decode(statement.root, 'hex', 32)
  requireIncluded(leaf, BigInt(record.index), BigInt(statement.count), batchPath, batchRoot, 'the record in its batch')
}

try {
  check(...process.argv.slice(2))
  console.log('yes')
} catch (error) {
  console.log(`no: ${error.message}`)
  process.exitCode = 1
}
