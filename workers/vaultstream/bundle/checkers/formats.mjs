// The formats of a bundle, for verify.mjs: files, canonical JSON, Merkle trees, keys, signatures and checkpoints.
import { constants as crypto, createHash, createPublicKey, verify } from 'node:crypto'
import { constants as fs, fstatSync, openSync, readFileSync, readSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

export const NAMES = { ES256: 'ECDSA_P256_SHA256', EdDSA: 'ED25519', PS256: 'RSA_PSS_3072_SHA256', 'ML-DSA-65': 'ML_DSA_65' }
const SPKI = { // how a SubjectPublicKeyInfo in DER begins, which members of the JWK follow, and how it ends
  ES256: ['3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'x', 'y', ''],
  EdDSA: ['302a300506032b6570032100', 'x', ''],
  PS256: ['308201a2300d06092a864886f70d01010105000382018f003082018a0282018100', 'n', '0203010001'],
  'ML-DSA-65': ['308207b2300b0609608648016503040312038207a100', 'pub', ''],
}
const VKEY = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/m // a seal key, or the first of several
const IDS = { bigint: /^(0|-?[1-9]\d*)$/, uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, text: /^/ }
const ABOUT = { // the members of bundle.json: their types, or the values that are known
  job: 'string', origin: 'string', payloads: 'number', records: 'number', state: 'string', token: 'string', version: 'number',
  algorithm: Object.values(NAMES), idType: Object.keys(IDS), signatureFormat: ['Raw', 'JWS'] }
const LONGEST = 128 * 1024 * 1024 // bytes of a line; a payload has at most 64 MiB

export function require(condition, sentence) {
  if (!condition) throw new Error(sentence)
}

/** Returns the text with all but printable ASCII escaped. */
export const ascii = (text) => text.replace(/[^ -~]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

// Files: no link is followed, no line is endless, and no object has two texts.
function open(folder, name, most = Infinity) {
  const file = openSync(join(folder, name), fs.O_RDONLY | (fs.O_NOFOLLOW ?? 0) | (fs.O_NONBLOCK ?? 0))
  require(fstatSync(file).isFile(), `${name} is a link, or no file`)
  require(fstatSync(file).size <= most, `${name} is too long`)
  return file
}

export const read = (folder, name) => readFileSync(open(folder, name, LONGEST))

export function* linesOf(folder, name) {
  let [begun, length] = [[], 0]
  for (let [file, bytes] = [open(folder, name), 1]; bytes > 0;) {
    let [chunk, start] = [Buffer.allocUnsafe(1 << 20), 0]
    chunk = chunk.subarray(0, (bytes = readSync(file, chunk)))
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...begun, chunk.subarray(start, end)])
      ;[begun, length, start] = [[], 0, end + 1]
    }
    begun.push(chunk.subarray(start))
    length += chunk.length - start
    require(length < LONGEST, `a line of ${name} is too long`)
  }
  require(length === 0, `the last line of ${name} has no end`)
}

export function canonical(value) {
  const sorted = (map) => Object.fromEntries(Object.entries(map).sort(([one], [other]) => (one < other ? -1 : 1)))
  return JSON.stringify(value, (_, each) => (each instanceof Object && !Array.isArray(each) ? sorted(each) : each))
}

/** Returns the object that a canonical JSON text (RFC 8785) describes. */
export function parse(data) {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  const value = JSON.parse(text)
  require(value instanceof Object && canonical(value) === text, `this is no canonical JSON: ${text.slice(0, 80)}`)
  return value
}

export function decode(text, encoding = 'base64') {
  const data = Buffer.from(text, encoding)
  require(data.toString(encoding) === text, `this is no canonical ${encoding}: ${text.slice(0, 80)}`)
  return data
}

export const base64url = (data) => data.toString('base64url')

/** Returns what bundle.json says, which has its members and no others. */
export function readAbout(folder) {
  const about = parse(read(folder, 'bundle.json'))
  require(about.version === 1, 'bundle.json is of another version')
  const isKnown = ([name, known]) => Array.isArray(known) ? known.includes(about[name]) : typeof about[name] === known
  const right = Object.keys(about).length === Object.keys(ABOUT).length && Object.entries(ABOUT).every(isKnown)
  require(right, 'bundle.json has other members or values than it must')
  return about
}

/** Returns a record, which has its members and no others. */
export function parseRecord(data, idType) {
  const { batch, id, payload, sha256: digest, signature, ...others } = parse(data)
  const areTexts = [id, digest, signature, payload ?? ''].every((each) => typeof each === 'string')
  const right = Number.isInteger(batch) && areTexts && Object.keys(others).length === 0
  require(right, `a record has other members than it must: ${data.subarray(0, 80)}`)
  require(IDS[idType].test(id), `record ${id} has no id of the type ${idType}`)
  return { batch, id, payload, sha256: digest, signature }
}

// Merkle trees of RFC 6962: the root over leaves, and above one leaf by the path from it to the root.
export const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const above = (left, right) => sha256(Buffer.from([1]), left, right)

/** Returns the largest power of two below a number. */
const half = (size) => 1n << BigInt((size - 1n).toString(2).length - 1)

export function rootOf(leaves) {
  if (leaves.length < 2) return leaves[0] ?? sha256()
  const left = Number(half(BigInt(leaves.length)))
  return above(rootOf(leaves.slice(0, left)), rootOf(leaves.slice(left)))
}

export function rootAbove(leaf, index, size, path) {
  require(index >= 0n && index < size && (size === 1n) === (path.length === 0), 'a proof is for another place in the log')
  if (size === 1n) return leaf
  const left = half(size)
  const [rest, sibling] = [path.slice(0, -1), path.at(-1)]
  return index < left ? above(rootAbove(leaf, index, left, rest), sibling) : above(sibling, rootAbove(leaf, index - left, size - left, rest))
}

// Keys and signatures.
/** Returns the keys of a JWK set by id: algorithm, key, and the digest of its SubjectPublicKeyInfo. */
export function readKeys(folder, name) {
  const keys = new Map()
  for (const jwk of JSON.parse(read(folder, name)).keys) {
    const [start, ...members] = SPKI[jwk.alg]
    const end = members.pop()
    const parts = members.map((member) => Buffer.from(jwk[member], 'base64url'))
    const der = Buffer.concat([Buffer.from(start, 'hex'), ...parts, Buffer.from(end, 'hex')])
    require(!keys.has(jwk.kid), `${name} has key ${jwk.kid} twice`)
    let key // none: an older Node does not have the algorithm
    try {
      key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    } catch (error) { if (jwk.alg !== 'ML-DSA-65') throw error }
    keys.set(jwk.kid, { alg: jwk.alg, key, digest: sha256(der).toString('hex'), usable: key !== undefined,
      revokedAt: revokedAt(jwk), added: jwk.addedSinceSeal === true })
  }
  return keys
}

/** Returns the last time in the second of a key's revocation, far in the future if there is no time; undefined: it is not revoked. */
function revokedAt(jwk) {
  if (jwk.state !== 'revoked' && jwk.revoked === undefined) return undefined
  const seconds = jwk.revoked?.revoked_at
  return seconds === undefined ? '9999' : `${new Date(seconds * 1000).toISOString().slice(0, 19)}.999999Z`
}

/** Returns the seal keys of an argument: one or more, a line each, or a file of them. */
function readVkeys(given) {
  const vkeys = (VKEY.test(given) ? given : read('', realpathSync(given)).toString()).split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  require(vkeys.length > 0, 'there is no seal key in it')
  for (const vkey of vkeys) {
    const [, name, id, encoded] = VKEY.exec(vkey)
    const data = decode(encoded)
    const right = sha256(Buffer.from(`${name}\n`), data).toString('hex', 0, 4) === id
    require(data.length === 33 && data[0] === 1 && right, 'a seal key is malformed')
  }
  return vkeys
}

/** Returns the seal keys and the sets of pinned keys that the user gave, or throws a sentence about one that can't be used. */
export function readTrusted(vkeys, pinned) {
  const [one, other] = ['what `vaultstream log key` prints', 'what `vaultstream keys export` writes']
  const use = (option, value, kind, reader) => {
    try {
      return reader(value)
    } catch (error) {
      throw new Error(`${option} ${value} can't be used: ${error.syscall ? error.code : `it is not ${kind}`}.`, { cause: error })
    }
  }
  return [
    vkeys.flatMap((value) => use('--seal-key', value, one, readVkeys)),
    new Map(pinned.flatMap((value) => [...use('--keys', value, other, (path) => readKeys(dirname(path), basename(path)))])),
  ]
}

export function isSigned({ alg, key }, data, signature) {
  const pss = { key, padding: crypto.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
  return verify(alg === 'ES256' || alg === 'PS256' ? 'sha256' : null, data, alg === 'PS256' ? pss : key, signature)
}

/** Returns size and root of a log from its checkpoint (c2sp.org/tlog-checkpoint), which one of the seal keys must have signed. */
export function openCheckpoint(note, origin, vkeys) {
  const gap = note.lastIndexOf('\n\n')
  const [text, lines] = [note.slice(0, gap + 1), note.slice(gap + 2).split('\n')]
  const [log, size, root, rest] = text.split('\n')
  require(note.endsWith('\n'), 'the last line of a checkpoint or proof has no end')
  let signed = vkeys.length === 0
  for (const vkey of vkeys) {
    const [, name, id, encoded] = VKEY.exec(vkey)
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(decode(encoded).subarray(1)) }, format: 'jwk' })
    for (const line of lines.filter((each) => each.startsWith(`— ${name} `))) {
      const value = decode(line.slice(name.length + 3))
      const right = value.toString('hex', 0, 4) === id && origin.split('/jobs/')[0] === name
      signed ||= right && verify(null, Buffer.from(text), key, value.subarray(4))
    }
  }
  const by = lines.filter((each) => each.startsWith(`— ${origin.split('/jobs/')[0]} `)).map((each) => decode(each.split(' ')[2]).toString('hex', 0, 4))
  const known = by.some((id) => vkeys.some((vkey) => VKEY.exec(vkey)[2] === id))
  require(signed || known || by.length === 0,
    `the checkpoint of ${log} is signed by the key ${by.join(', ')}, which was not given: take it from \`vaultstream log key\``)
  require(signed, `the checkpoint of ${log} is not signed by the seal key that was given`)
  require(log === origin && rest === '', `a checkpoint is of the log ${log} and not of ${origin}`)
  return [Number(size), decode(root)]
}
