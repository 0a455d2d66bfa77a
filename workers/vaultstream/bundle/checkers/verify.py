"""Checks a bundle of VaultStream without VaultStream: what was signed, by which keys, when, and whether anything is missing.

Usage: python verify.py FOLDER [--seal-key VKEY] [--keys PINNED.jwks]     (Python 3.11 or newer, the package cryptography, formats.py)
VKEY is what `vaultstream log key` prints, or a file with it, PINNED.jwks what `vaultstream keys export` writes; each option can be
repeated. Take neither of them, nor this program, from the bundle: whoever forges one can forge these too.
Exit codes: 0 nothing is wrong; 1 faults, one per line; 2 bad arguments; 3 nothing is wrong, but nothing shows whose keys these are, or
the job was not complete.
"""
import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

from formats import (
    KINDS,
    MALFORMED,
    NAMES,
    PREHASHED,
    canonical,
    decode,
    is_signed,
    jws_input,
    lines_of,
    open_checkpoint,
    parse,
    parse_record,
    read,
    read_about,
    read_keys,
    read_sealed,
    read_trusted,
    require,
    root_of,
    say,
    sha256,
)


# The job's log, its records and its seal.
def add_entry(entry, about, keys, found, logged):
    """Takes note of an entry of the job's log, or of a statement that is in no log."""
    kind = entry.get("payloadType", entry.get("type"))
    match KINDS.get(kind), entry:
        case "batch-statement", {"payload": payload, "signatures": [{"sig": signature, "keyid": named}]} if len(entry) == 3:
            stated = parse(decode(payload))
            encoded = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(decode(payload)), decode(payload))
            where, lease = f"the statement of batch {stated['batch']}", (stated["keyId"], stated["epoch"])
            algorithm, key, *_ = keys.get(stated["keyId"], (None, None))
            require(key and is_signed(key, decode(signature), encoded), f"{where} is not signed by its key")
            right = (stated["jobToken"], stated["keyId"], stated["algorithm"]) == (about["token"], named, NAMES[algorithm])
            require(right and stated["algorithm"] == about["algorithm"], f"{where} is of another job, key or algorithm")
            require(not (logged and keys[stated["keyId"]][4]), f"{where} is sealed, and its key is said to be added since")
            require(stated["batch"] not in found.batches and lease not in found.leases, f"{where}, or of its lease, is there twice")
            found.leases.add(lease)
            found.batches[stated["batch"]] = SimpleNamespace(stated=stated, logged=logged, leaves=[], ids=[], count=0)
        case "dead-letter", {"jobToken": token, "recordId": record_id} if logged and token == about["token"]:
            found.dead.add(record_id)
        case "revocation", {"jobToken": token, "keyId": key_id, "revokedAt": time} if logged and token == about["token"]:
            found.revoked.setdefault(key_id, time)
        case "audit-event", {"jobToken": token, "number": number} if logged and token == about["token"]:
            found.events += 1
            require(number == found.events, f"audit event {found.events} is missing in the log")
        case _:
            raise ValueError(f"an entry is unknown, of another job, or not in the log: {entry!r:.200}")

def add_record(record, about, keys, found):
    """Checks a record's signature and, once its batch is complete, that these are the records that the key signed."""
    digest, signature, record_id = bytes.fromhex(record["sha256"]), decode(record["signature"]), record["id"].encode()
    found.payloads += "payload" in record
    before, found.before = found.before, int(record["id"]) if about["idType"] == "bigint" else record_id
    require(before is None or before < found.before, f"record {record['id']} is not above the one before it")
    require(record["batch"] in found.batches, f"record {record['id']} is under no statement of a key")
    batch = found.batches[record["batch"]]
    stated, (algorithm, key, *_) = batch.stated, keys[batch.stated["keyId"]]
    if batch.logged:
        found.dead.discard(record["id"])
    elif record["id"] not in found.dead and found.unplanned is None:
        found.unplanned = record["id"]
    batch.count, batch.ids = batch.count + 1, [*batch.ids[:1], record["id"]]
    batch.leaves.append(sha256(b"\0", len(record_id).to_bytes(4), record_id, digest, signature))
    if batch.count == stated["count"]:
        signed = root_of(batch.leaves).hex(), batch.ids[0], batch.ids[-1]
        batch.leaves.clear()
        right = signed == (stated["root"], stated["firstId"], stated["lastId"])
        require(right, f"batch {stated['batch']} does not have the records that its key signed, or not as they were signed")
    raw, payload = about["signatureFormat"] == "Raw", decode(record["payload"]) if "payload" in record else None
    require(payload is None or sha256(payload) == digest, f"the payload of record {record['id']} is not what was signed")
    if payload is not None:
        data = payload if raw else jws_input(stated["keyId"], algorithm, about["token"], record["id"], payload)
        require(is_signed(key, signature, data), f"the signature of record {record['id']} is not valid")
    elif raw and algorithm in ("ES256", "PS256"):
        require(is_signed(key, signature, digest, PREHASHED), f"the signature of record {record['id']} is not valid")
    else:
        found.bare += 1

def check_seal(folder, about, keys, found, leaves, vkeys):
    """Checks that the log, the keys and the numbers are those under the seal, and that what was planned was done."""
    seal = read_sealed(folder, "seal", about["origin"], vkeys)
    size, root = open_checkpoint(read(folder / "checkpoint"), f"{about['origin']}/jobs/{about['token']}", vkeys)
    require((size, root) == (len(leaves), root_of(leaves)), f"log.jsonl does not have the {size} entries of its checkpoint")
    lines = (canonical([key_id, NAMES[keys[key_id][0]], keys[key_id][2]]) + b"\n" for key_id in sorted(keys, key=str.encode)
             if not keys[key_id][4])
    signed = sum(batch.stated["count"] for batch in found.batches.values() if batch.logged)
    wanted = [("jobToken", about["token"]), ("job", about["job"]), ("treeSize", size), ("treeRoot", root.hex()),
              ("keysSha256", sha256(*lines).hex()), ("signed", signed)]
    plan = read_sealed(folder, "plan", about["origin"], vkeys) if found.planned else None
    wanted += [(name, plan[name]) for name in ("jobToken", "job", "source") if plan]
    complete = seal["state"] == "Complete" or (seal["state"], about["state"], bool(plan)) == ("Deleted", "Complete", True)
    found.unfinished = found.unfinished or (None if complete else f"sealed: it was {seal['state']}")
    require(not complete or found.unplanned is None, f"record {found.unplanned} was signed since the job was sealed as complete, and was not dead")
    wanted += [("dead", len(found.dead))] * complete
    if complete and plan:
        wanted += [(name, plan[name]) for name in ("upperId", "batches", "rangesSha256")]
        wanted.append(("signed", plan["records"] - seal["dead"]))
    for name, value in wanted:
        require(seal[name] == value, f"the seal has {seal[name]} as {name}, and the bundle or the plan has {value}")
    return seal

def check(folder, vkeys, pinned, report):
    """Reports faults, prints what was not checked; returns why the job was not complete, or None, and whether all keys are vouched for."""
    about, keys = read_about(folder / "bundle.json"), read_keys(folder / "keys.jwks")
    names, leaves, count = {path.name for path in folder.iterdir()}, [], 0
    found = SimpleNamespace(batches={}, leases=set(), dead=set(), revoked={}, before=None, bare=0, events=0, payloads=0, unplanned=None,
                            planned="plan.json" in names, unfinished=None if about["state"] == "Complete" else f"exported: it was {about['state']}")
    sealed = "seal.json" in names
    require(sealed or not vkeys, "a seal key was given, and the bundle has no seal")
    for name in ["log.jsonl"] * sealed + ["statements.jsonl"] * (not sealed or "statements.jsonl" in names):
        for data in lines_of(folder / name):
            leaves += [sha256(b"\0", data)] if name == "log.jsonl" else []
            add_entry(parse(data), about, keys, found, name == "log.jsonl")
    for count, data in enumerate(lines_of(folder / "records.jsonl"), start=1):  # noqa: B007 - how many there are
        try:
            add_record(parse_record(data, about["idType"]), about, keys, found)
        except MALFORMED as error:
            report(error)
    later = [key_id for key_id, key in keys.items() if key[3] and key_id not in found.revoked]
    found.revoked |= {key_id: keys[key_id][3] for key_id in later}
    for number, batch in found.batches.items():
        key_id, time, stated = batch.stated["keyId"], batch.stated["signedAt"], batch.stated["count"]
        if batch.count != stated:
            report(f"batch {number} has {batch.count} records here, and its key signed {stated}")
        if time > found.revoked.get(key_id, time):
            report(f"batch {number} was signed at {time}, after its key was revoked")
        if pinned and (key_id not in pinned or pinned[key_id][0:4:3] != (keys[key_id][0], None) or pinned[key_id][2] != keys[key_id][2]):
            report(f"batch {number} was signed by key {key_id}, which is not pinned, or revoked there")
    seal = check_seal(folder, about, keys, found, leaves, vkeys) if sealed else None
    for here, name in (count, "records"), (found.payloads, "payloads"):
        require(here == about[name] and (count or sealed), f"the bundle has {here} {name}, and should have {about[name]}")
    added, signed_too = sum(key[4] for key in keys.values()), any(keys[each.stated["keyId"]][4] for each in found.batches.values())
    unsealed = sum(not batch.logged for batch in found.batches.values())
    say(f"{count} records in {len(found.batches)} batches; sealed at {seal['sealedAt'] if seal else 'no time'}; "
        f"revoked keys: {len(found.revoked)}")
    for key_id in later:
        say(f"key {key_id} is revoked{', after the seal' if sealed else ''}")
    for applies, sentence in (
        (not vkeys, "who sealed the job: no seal key was given"),
        (not vkeys and not pinned, "whose keys these are: no keys are pinned, and no seal key was given"),
        (not sealed, "that no batch is missing: the job is not sealed"),
        (sealed and not found.planned, "that all that was planned was signed: the job has a seal and no plan"),
        (added and not pinned, f"whose {added} keys are that were added since the seal: they are not pinned"),
        (sealed and unsealed, f"that no batch from after the seal is missing: {unsealed} of them are here"),
        (found.bare, f"the own signatures of {found.bare} records without payload; the statements of their keys have them")):
        print(f"NOT CHECKED: {sentence}" if applies else "", end="\n" * bool(applies))
    return found.unfinished, bool(pinned or (vkeys and not signed_too))

def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--seal-key", action="append", default=[])
    options.add_argument("--keys", action="append", default=[])
    given, faults = options.parse_args(), []
    if not given.folder.is_dir():
        options.error(f"There is no folder {given.folder}.")
    try:
        vkeys, pinned = read_trusted(given.seal_key, given.keys)
    except ValueError as error:
        options.error(f"{error}.")

    def report(fault):
        faults.append(None)  # how many there are: a fault may be as long as a line
        if len(faults) <= 50:
            say(f"FAULT: {fault if isinstance(fault, (str, ValueError, OSError)) else repr(fault)}")

    try:
        unfinished, anchored = check(given.folder, vkeys, pinned, report)
    except MALFORMED as error:
        report(error)
    if faults:
        sys.exit(f"{len(faults)} fault{'s' * (len(faults) > 1)}: this is not what was signed")
    if not anchored:
        print("Nothing is wrong, but nothing shows whose keys these are: give --seal-key, or --keys for those added since the seal")
    if unfinished:
        say(f"The job was not complete when it was {unfinished}")
    if unfinished or not anchored:
        sys.exit(3)
    print("Nothing is wrong")

if __name__ == "__main__":
    main()
