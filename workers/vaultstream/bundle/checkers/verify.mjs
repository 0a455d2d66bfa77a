// Checks a bundle of VaultStream without VaultStream: what was signed, by which keys, when, and whether anything is missing.
//
// Usage: node verify.mjs FOLDER [--seal-key VKEY] [--keys PINNED.jwks]     (Node 20 or newer, no packages, and formats.mjs)
// VKEY is what `vaultstream log key` prints, or a file with it, PINNED.jwks what `vaultstream keys export` writes; each option can be
// repeated. Take neither of them, nor this program, from the bundle: whoever forges one can forge these too.
// Exit codes: 0 nothing is wrong; 1 faults, one per line; 2 bad arguments; 3 nothing is wrong, but nothing shows whose keys these are, or
// the job was not complete.
import { readdirSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  NAMES, ascii, base64url, canonical, decode, isSigned, linesOf, openCheckpoint, parse, parseRecord, read, readAbout, readKeys, readTrusted, require,
  rootAbove, rootOf, sha256,
} from './formats.mjs'

const kind = (name) => `application/vnd.vaultstream.${name}.v1+json`
const [STATEMENT, DEAD, REVOKED, EVENT] = ['batch-statement', 'dead-letter', 'revocation', 'audit-event'].map(kind)

/** Returns the plan or the seal, which must be in the installation's log by its proof (c2sp.org/tlog-proof). */
function readSealed(folder, name, origin, vkeys) {
  const data = read(folder, `${name}.json`)
  const proof = read(folder, `${name}.tlog-proof`).toString()
  const gap = proof.indexOf('\n\n')
  const [version, index, ...path] = proof.slice(0, gap).split('\n')
  const [size, root] = openCheckpoint(proof.slice(gap + 2), origin, vkeys)
  const place = BigInt(index.replace(/^index /, ''))
  const found = rootAbove(sha256(Buffer.from([0]), data), place, BigInt(size), path.map((line) => decode(line)))
  require(version === 'c2sp.org/tlog-proof@v1' && found.equals(root), `${name}.json is not in the installation's log`)
  require(parse(data).type === kind(name), `${name}.json is of another type`)
  return parse(data)
}

/** Takes note of an entry of the job's log, or of a statement that is in no log. */
function addEntry(entry, about, keys, found, logged) {
  if (entry.payloadType !== STATEMENT) {
    require([DEAD, REVOKED, EVENT].includes(entry.type) && logged, `an entry is of the unknown type ${entry.type ?? entry.payloadType}, or not in the log`)
    require(entry.jobToken === about.token, 'the log has an entry of another job')
    if (entry.type === DEAD) found.dead.add(entry.recordId)
    if (entry.type === EVENT) require(entry.number === (found.events += 1), `audit event ${found.events} is missing in the log`)
    if (entry.type === REVOKED && !found.revoked.has(entry.keyId)) found.revoked.set(entry.keyId, entry.revokedAt)
    return
  }
  const { payload, payloadType, signatures: [{ keyid, sig, ...more }, ...others], ...rest } = entry
  require(Object.keys({ ...more, ...others, ...rest }).length === 0, `a ${payloadType} has other members than it must, or not one signature`)
  const [body, signature, stated] = [decode(payload), decode(sig), parse(decode(payload))]
  const [where, key, lease] = [`the statement of batch ${stated.batch}`, keys.get(stated.keyId), `${stated.epoch} ${stated.keyId}`]
  const encoded = Buffer.concat([Buffer.from(`DSSEv1 ${STATEMENT.length} ${STATEMENT} ${body.length} `), body])
  require(key && (!key.usable || isSigned(key, encoded, signature)), `${where} is not signed by its key`)
  found.unverifiable += key.usable ? 0 : 1
  const right = stated.jobToken === about.token && stated.keyId === keyid && stated.algorithm === NAMES[key.alg]
  require(right && stated.algorithm === about.algorithm, `${where} is of another job, key or algorithm`)
  require(!(logged && key.added), `${where} is sealed, and its key is said to be added since`)
  require(!found.batches.has(stated.batch) && !found.leases.has(lease), `${where}, or of its lease, is there twice`)
  found.leases.add(lease)
  found.batches.set(stated.batch, { stated, logged, leaves: [], count: 0, first: undefined })
}

/** Checks a record's signature and, once its batch is complete, that these are the records that the key signed. */
function addRecord(record, about, keys, found) {
  const [digest, signature, recordId] = [decode(record.sha256, 'hex'), decode(record.signature), Buffer.from(record.id)]
  const [order, before] = [about.idType === 'bigint' ? BigInt(record.id) : recordId, found.before]
  found.before = order
  found.payloads += record.payload === undefined ? 0 : 1
  const above = before === undefined || (about.idType === 'bigint' ? before < order : Buffer.compare(before, order) < 0)
  require(above, `record ${record.id} is not above the one before it`)
  const batch = found.batches.get(record.batch)
  require(batch !== undefined, `record ${record.id} is under no statement of a key`)
  const [{ stated }, key] = [batch, keys.get(batch.stated.keyId)]
  if (batch.logged) found.dead.delete(record.id)
  else if (!found.dead.has(record.id)) found.unplanned ??= record.id
  const length = Buffer.of(...[24, 16, 8, 0].map((bits) => recordId.length >>> bits))
  batch.count += 1
  batch.first ??= record.id
  batch.leaves.push(sha256(Buffer.from([0]), length, recordId, digest, signature))
  if (batch.count === stated.count) {
    const right = rootOf(batch.leaves).toString('hex') === stated.root
    batch.leaves = []
    require(right && batch.first === stated.firstId && record.id === stated.lastId,
      `batch ${stated.batch} does not have the records that its key signed, or not as they were signed`)
  }
  const payload = record.payload === undefined ? undefined : decode(record.payload)
  require(payload === undefined || sha256(payload).equals(digest), `the payload of record ${record.id} is not what was signed`)
  if (payload === undefined || !key.usable) return (found.bare += 1) // Node verifies no signature by a digest alone
  const header = canonical({ alg: key.alg, kid: stated.keyId, typ: 'vnd.vaultstream.record+jws',
    'vaultstream.dev/job': about.token, 'vaultstream.dev/record': record.id })
  const data = about.signatureFormat === 'Raw' ? payload : Buffer.from(`${base64url(Buffer.from(header))}.${base64url(payload)}`)
  require(isSigned(key, data, signature), `the signature of record ${record.id} is not valid`)
}

/** Checks that the log, the keys and the numbers are those under the seal, and that what was planned was done. */
function checkSeal(folder, about, keys, found, leaves, vkeys) {
  const seal = readSealed(folder, 'seal', about.origin, vkeys)
  const [size, root] = openCheckpoint(read(folder, 'checkpoint').toString(), `${about.origin}/jobs/${about.token}`, vkeys)
  require(size === leaves.length && root.equals(rootOf(leaves)), `log.jsonl does not have the ${size} entries of its checkpoint`)
  const sorted = [...keys].sort(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
  const lines = sorted.filter(([, key]) => !key.added).map(([id, key]) => Buffer.from(`${canonical([id, NAMES[key.alg], key.digest])}\n`))
  const signed = [...found.batches.values()].reduce((sum, batch) => sum + (batch.logged ? batch.stated.count : 0), 0)
  const wanted = [['jobToken', about.token], ['job', about.job], ['treeSize', size], ['treeRoot', root.toString('hex')],
    ['keysSha256', sha256(...lines).toString('hex')], ['signed', signed]]
  const plan = found.planned ? readSealed(folder, 'plan', about.origin, vkeys) : undefined
  const complete = seal.state === 'Complete' || (seal.state === 'Deleted' && about.state === 'Complete' && found.planned)
  if (!complete) found.unfinished ??= `sealed: it was ${seal.state}`
  require(!complete || found.unplanned === undefined, `record ${found.unplanned} was signed since the job was sealed as complete, and was not dead`)
  const planned = ['jobToken', 'job', 'source', ...(complete ? ['upperId', 'batches', 'rangesSha256'] : [])]
  if (plan !== undefined) wanted.push(...planned.map((name) => [name, plan[name]]))
  if (complete) wanted.push(['dead', found.dead.size], ...(plan ? [['signed', plan.records - seal.dead]] : []))
  for (const [name, value] of wanted) {
    require(seal[name] === value, `the seal has ${seal[name]} as ${name}, and the bundle or the plan has ${value}`)
  }
  return seal
}

/** Reports faults, prints what was not checked, and returns what was found. */
function check(folder, vkeys, pinned, report) {
  const [about, keys] = [readAbout(folder), readKeys(folder, 'keys.jwks')]
  const [names, leaves] = [readdirSync(folder), []]
  const found = { planned: names.includes('plan.json'), batches: new Map(), leases: new Set(), dead: new Set(), revoked: new Map(), payloads: 0, bare: 0, events: 0, unverifiable: 0 }
  if (about.state !== 'Complete') found.unfinished = `exported: it was ${about.state}`
  const sealed = names.includes('seal.json')
  let count = 0
  require(sealed || vkeys.length === 0, 'a seal key was given, and the bundle has no seal')
  const logs = [...(sealed ? ['log.jsonl'] : []), ...(!sealed || names.includes('statements.jsonl') ? ['statements.jsonl'] : [])]
  for (const name of logs) {
    for (const data of linesOf(folder, name)) {
      if (name === 'log.jsonl') leaves.push(sha256(Buffer.from([0]), data))
      addEntry(parse(data), about, keys, found, name === 'log.jsonl')
    }
  }
  for (const data of linesOf(folder, 'records.jsonl')) {
    count += 1
    try {
      addRecord(parseRecord(data, about.idType), about, keys, found)
    } catch (error) {
      report(error.message)
    }
  }
  const revokedLater = [...keys].filter(([id, key]) => key.revokedAt !== undefined && !found.revoked.has(id))
  for (const [id, key] of revokedLater) found.revoked.set(id, key.revokedAt)
  for (const [number, { count: here, stated }] of found.batches) {
    const [key, known] = [keys.get(stated.keyId), pinned.get(stated.keyId)]
    if (here !== stated.count) report(`batch ${number} has ${here} records here, and its key signed ${stated.count}`)
    if (stated.signedAt > (found.revoked.get(stated.keyId) ?? stated.signedAt)) {
      report(`batch ${number} was signed at ${stated.signedAt}, after its key was revoked`)
    }
    if (pinned.size > 0 && (known?.alg !== key.alg || known.digest !== key.digest || known.revokedAt !== undefined)) {
      report(`batch ${number} was signed by key ${stated.keyId}, which is not pinned, or revoked there`)
    }
  }
  const seal = sealed ? checkSeal(folder, about, keys, found, leaves, vkeys) : undefined
  for (const [here, name] of [[count, 'records'], [found.payloads, 'payloads']])
    require(here === about[name] && (count > 0 || sealed), `the bundle has ${here} ${name}, and should have ${about[name]}`)
  const added = [...keys.values()].filter((key) => key.added).length
  found.anchored = pinned.size > 0 || (vkeys.length > 0 && ![...found.batches.values()].some(({ stated }) => keys.get(stated.keyId).added))
  const later = [...found.batches.values()].filter((batch) => !batch.logged).length
  console.log(`${count} records in ${found.batches.size} batches; sealed at ${ascii(seal?.sealedAt ?? 'no time')}; revoked keys: ${found.revoked.size}`)
  for (const [id] of revokedLater) console.log(ascii(`key ${id} is revoked${sealed ? ', after the seal' : ''}`))
  for (const [applies, sentence] of [
    [vkeys.length === 0, 'who sealed the job: no seal key was given'],
    [vkeys.length + pinned.size === 0, 'whose keys these are: no keys are pinned, and no seal key was given'],
    [!sealed, 'that no batch is missing: the job is not sealed'],
    [sealed && !found.planned, 'that all that was planned was signed: the job has a seal and no plan'],
    [added > 0 && pinned.size === 0, `whose ${added} keys are that were added since the seal: they are not pinned`],
    [sealed && later > 0, `that no batch from after the seal is missing: ${later} of them are here`],
    [found.unverifiable > 0, `the signatures of ${found.unverifiable} statements: ML-DSA needs Node 24.7 or newer`],
    [found.bare > 0, `the own signatures of ${found.bare} records, for which Node needs the payload; the statements of their keys have them`],
  ]) if (applies) console.log(`NOT CHECKED: ${sentence}`)
  return found
}

let [folder, vkeys, pinned] = []
try {
  const list = { type: 'string', multiple: true, default: [] }
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { 'seal-key': list, keys: list } })
  require(positionals.length === 1, 'Usage: node verify.mjs FOLDER [--seal-key VKEY] [--keys PINNED.jwks]')
  folder = positionals[0]
  require(statSync(folder, { throwIfNoEntry: false })?.isDirectory(), `There is no folder ${folder}.`)
  ;[vkeys, pinned] = readTrusted(values['seal-key'], values.keys)
} catch (error) {
  console.error(error.message)
  process.exit(2)
}
let [faults, found] = [0]
const report = (sentence) => {
  faults += 1
  if (faults <= 50) console.log(ascii(`FAULT: ${sentence}`).slice(0, 1000)) // a bundle's text must not control a terminal
}
try {
  found = check(folder, vkeys, pinned, report)
} catch (error) {
  report(error.message)
}
const doubts = faults > 0 ? [] : [
  [found.unverifiable > 0, 'Nothing is wrong, but not all statements could be checked here'],
  [!found.anchored, 'Nothing is wrong, but nothing shows whose keys these are: give --seal-key, or --keys for those added since the seal'],
  [found.unfinished !== undefined, `The job was not complete when it was ${found.unfinished}`],
].filter(([applies]) => applies)
if (faults > 0) console.error(`${faults} fault${faults > 1 ? 's' : ''}: this is not what was signed`)
else for (const [, sentence] of doubts) console.log(ascii(sentence))
if (faults + doubts.length === 0) console.log('Nothing is wrong')
process.exitCode = faults > 0 ? 1 : doubts.length > 0 ? 3 : 0
