"""The formats of a bundle, for verify.py: files, canonical JSON, Merkle trees, keys, signatures and checkpoints."""
import json
import re
import stat
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256 as hash_of
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

NAMES = {"ES256": "ECDSA_P256_SHA256", "EdDSA": "ED25519", "PS256": "RSA_PSS_3072_SHA256", "ML-DSA-65": "ML_DSA_65"}
SPKI = {  # how a SubjectPublicKeyInfo in DER begins, which members of the JWK follow, and how it ends
    "ES256": ("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "x", "y", ""),
    "EdDSA": ("302a300506032b6570032100", "x", ""),
    "PS256": ("308201a2300d06092a864886f70d01010105000382018f003082018a0282018100", "n", "0203010001"),
    "ML-DSA-65": ("308207b2300b0609608648016503040312038207a100", "pub", "")}
KINDS = {f"application/vnd.vaultstream.{name}.v1+json": name
         for name in ("batch-statement", "dead-letter", "revocation", "audit-event", "seal", "plan")}
MALFORMED = ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError, OverflowError, UnsupportedAlgorithm
IDS = {"bigint": "0|-?[1-9][0-9]*", "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "text": "(?s:.*)"}
ABOUT = {"job": str, "origin": str, "payloads": int, "records": int, "state": str, "token": str, "version": int,
         "algorithm": NAMES.values(), "idType": IDS, "signatureFormat": ("Raw", "JWS")}  # types, or the values that are known
PREHASHED = Prehashed(SHA256())  # what is signed is given as its digest
LONGEST = 128 * 1024 * 1024  # bytes of a line; a payload has at most 64 MiB

def require(condition, sentence):
    if not condition:
        raise ValueError(sentence)

# Files: no link is followed, no line is endless, and no object has two texts.
def open_file(path):
    require(stat.S_ISREG(path.lstat().st_mode), f"{path.name} is a link, or no file")
    return path.open("rb")

def read(path):
    with open_file(path) as file:
        return file.read(LONGEST)

def lines_of(path):
    with open_file(path) as file:
        while line := file.readline(LONGEST):
            require(line.endswith(b"\n"), f"a line of {path.name} is too long, or the last one has no end")
            yield line[:-1]

def canonical(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

def parse(data):
    """Returns the object that a canonical JSON text (RFC 8785) describes."""
    value = json.loads(data)
    require(isinstance(value, dict) and canonical(value) == data, f"this is no canonical JSON: {data[:80]!r}")
    return value

def decode(text):
    require(b64encode(b64decode(text)).decode() == text, f"this is no canonical base64: {text[:80]!r}")
    return b64decode(text)

def read_about(path):
    """Returns what bundle.json says, which has its members and no others."""
    about = parse(read(path))
    require(about.get("version") == 1, "bundle.json is of another version")
    right = about.keys() == ABOUT.keys() and all(
        type(about[name]) is known if isinstance(known, type) else about[name] in known for name, known in ABOUT.items())
    require(right, "bundle.json has other members or values than it must")
    return about

def parse_record(data, id_type):
    """Returns a record, which has its members and no others."""
    record = parse(data)
    right = record.keys() - {"payload"} == {"batch", "id", "sha256", "signature"} and type(record["batch"]) is int
    require(right and bytes.fromhex(record["sha256"]).hex() == record["sha256"], f"a record has other members than it must: {data[:80]!r}")
    require(re.fullmatch(IDS[id_type], record["id"]), f"record {record['id']} has no id of the type {id_type}")
    return record

# Merkle trees of RFC 6962: the root over leaves, and above one leaf by the path from it to the root.
def sha256(*parts):
    return hash_of(b"".join(parts)).digest()

def root_of(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", root_of(leaves[:left]), root_of(leaves[left:]))

def root_above(leaf, index, size, path):
    require(0 <= index < size and (size == 1) == (not path), "a proof is for another place in the log")
    if size == 1:
        return leaf
    left = 1 << (size - 1).bit_length() - 1
    if index < left:
        return sha256(b"\1", root_above(leaf, index, left, path[:-1]), path[-1])
    return sha256(b"\1", path[-1], root_above(leaf, index - left, size - left, path[:-1]))

# Keys and signatures.
def read_keys(path):
    """Returns the keys of a JWK set by id: algorithm, key, digest of its SubjectPublicKeyInfo, when it was revoked, whether it is newer than the seal."""
    keys = {}
    for jwk in json.loads(read(path).decode())["keys"]:
        start, *members, end = SPKI[jwk["alg"]]
        der = bytes.fromhex(start) + b"".join(urlsafe_b64decode(jwk[name] + "==") for name in members) + bytes.fromhex(end)
        require(jwk["kid"] not in keys, f"{path.name} has key {jwk['kid']} twice")
        keys[jwk["kid"]] = jwk["alg"], load_der_public_key(der), sha256(der).hex(), revoked_at(jwk), jwk.get("addedSinceSeal") is True
    return keys

def revoked_at(jwk):
    """Returns the last time in the second of a key's revocation, far in the future if there is no time; None: it is not revoked."""
    if "revoked" not in (jwk.get("state"), *jwk):
        return None
    seconds = (jwk.get("revoked") or {}).get("revoked_at")
    return "9999" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.999999Z")

def read_vkeys(given):
    """Returns the seal keys of an argument: one or more, a line each, or a file of them."""
    text = given if re.match(r"[^+\s]+\+[0-9a-f]{8}\+", given) else read(Path(given).resolve()).decode()
    vkeys = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for name, key_id, material in (vkey.split("+", 2) for vkey in vkeys):
        data = decode(material)
        right = len(data) == 33 and data[0] == 1 and sha256(f"{name}\n".encode(), data)[:4].hex() == key_id
        require(right, "a seal key is malformed")
    require(vkeys, "there is no seal key in it")
    return vkeys

def argument(option, value, reader, kind):
    """Returns what the user gave, or raises a sentence about it."""
    try:
        return reader(value)
    except MALFORMED as error:
        why = error.strerror if isinstance(error, OSError) else f"it is not {kind}"
        raise ValueError(f"{option} {value} can't be used: {why}") from None

def read_trusted(vkeys, pinned):
    """Returns the seal keys and the pinned keys by id that the user gave."""
    sets = [argument("--keys", Path(each), read_keys, "what `vaultstream keys export` writes") for each in pinned]
    found = [vkey for each in vkeys for vkey in argument("--seal-key", each, read_vkeys, "what `vaultstream log key` prints")]
    return found, {key_id: key for each in sets for key_id, key in each.items()}

def say(sentence):
    """Prints in ASCII: the text of a bundle must not control a terminal."""
    print(ascii(sentence)[1:-1][:1000])

def is_signed(key, signature, data, hashed=SHA256()):
    how = [ec.ECDSA(hashed)] if isinstance(key, ec.EllipticCurvePublicKey) else []
    how = [padding.PSS(padding.MGF1(SHA256()), 32), hashed] if isinstance(key, rsa.RSAPublicKey) else how
    try:
        key.verify(signature, data, *how)
    except InvalidSignature:
        return False
    return True

def jws_input(key_id, algorithm, token, record_id, payload):
    """Returns what is signed of a record as a JWS (RFC 7515)."""
    header = canonical({"alg": algorithm, "kid": key_id, "typ": "vnd.vaultstream.record+jws",
                        "vaultstream.dev/job": token, "vaultstream.dev/record": record_id})
    return b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))

def open_checkpoint(note, origin, vkeys):
    """Returns size and root of a log from its checkpoint (c2sp.org/tlog-checkpoint), which one of the seal keys must have signed."""
    text, _, signatures = note.decode().rpartition("\n\n")
    require(signatures.endswith("\n"), "the last line of a checkpoint or proof has no end")
    log, size, root = text.split("\n")
    signed = not vkeys
    for name, key_id, material in (vkey.split("+", 2) for vkey in vkeys):
        key, start = ed25519.Ed25519PublicKey.from_public_bytes(decode(material)[1:]), f"— {name} "
        for value in (decode(line.removeprefix(start)) for line in signatures.splitlines() if line.startswith(start)):
            right = value[:4] == sha256(f"{name}\n".encode(), decode(material))[:4] == bytes.fromhex(key_id)
            signed |= right and origin.split("/jobs/")[0] == name and is_signed(key, value[4:], f"{text}\n".encode())
    by = [decode(line.rpartition(" ")[2])[:4].hex() for line in signatures.splitlines() if line.startswith(f"— {origin.split('/jobs/')[0]} ")]
    unknown = [key_id for key_id in by if key_id not in [vkey.split("+", 2)[1] for vkey in vkeys]]
    require(signed or by != unknown or not by, f"the checkpoint of {log} is signed by the key {', '.join(unknown)}, which was not given: "
            "take it from `vaultstream log key`")
    require(signed, f"the checkpoint of {log} is not signed by the seal key that was given")
    require(log == origin, f"a checkpoint is of the log {log} and not of {origin}")
    return int(size), decode(root)

def read_sealed(folder, name, origin, vkeys):
    """Returns the plan or the seal, which must be in the installation's log by its proof (c2sp.org/tlog-proof)."""
    data, (head, _, note) = read(folder / f"{name}.json"), read(folder / f"{name}.tlog-proof").partition(b"\n\n")
    version, index, *path = head.decode().split("\n")
    size, root = open_checkpoint(note, origin, vkeys)
    found = root_above(sha256(b"\0", data), int(index.removeprefix("index ")), size, [decode(line) for line in path])
    require((found, version) == (root, "c2sp.org/tlog-proof@v1"), f"{name}.json is not in the installation's log")
    require(KINDS.get(parse(data)["type"]) == name, f"{name}.json is of another type")
    return parse(data)
