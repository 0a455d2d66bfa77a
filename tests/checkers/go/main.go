// Check says whether a record's proof holds: "yes" and exit code 0, or "no", a reason and exit code 1. It has no code of VaultStream.
//
// Usage: check FOLDER SEAL_VKEY ORIGIN KEY_PEM. The folder has record.json, statement.json, statement.tlog-proof and payload.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const statementType = "application/vnd.vaultstream.batch-statement.v1+json"

type record struct {
	ID, PayloadSHA256 string
	Index             int64
	Path              []string
	Signature         []byte
}
type envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []struct{ Sig []byte }
}
type statement struct {
	Count int64
	Root  string
}

func main() {
	if err := check(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	fmt.Println("yes")
}

func check(folder, vkey, origin, pemFile string) error {
	// 1. The seal key signed the head of the job's log, and the statement is an entry of that log.
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	header, rest, _ := strings.Cut(read(folder, "statement.tlog-proof"), "\n")
	place, checkpoint, _ := strings.Cut(rest, "\n\n")
	lines := strings.Split(place, "\n")
	number, found := strings.CutPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !found || header != "c2sp.org/tlog-proof@v1" {
		return errors.New("the proof is malformed")
	}
	opened, err := note.Open([]byte(checkpoint), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	head, isOurs := strings.CutPrefix(opened.Text, origin+"\n")
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + head))
	if err != nil || !isOurs {
		return errors.New("the checkpoint is malformed, or of another log")
	}
	entry := read(folder, "statement.json")
	if err := included(lines[1:], tlog.ParseHash, tree.N, tree.Hash, index, []byte(entry)); err != nil {
		return fmt.Errorf("the statement in the log: %w", err)
	}
	// 2. The batch's key signed the statement.
	var signed envelope
	var stated statement
	if err := json.Unmarshal([]byte(entry), &signed); err != nil {
		return err
	}
	if err := json.Unmarshal(signed.Payload, &stated); err != nil || signed.PayloadType != statementType || len(signed.Signatures) != 1 {
		return errors.New("the statement is malformed")
	}
	encoded := fmt.Sprintf("DSSEv1 %d %s %d %s", len(signed.PayloadType), signed.PayloadType, len(signed.Payload), signed.Payload)
	block, _ := pem.Decode([]byte(read("", pemFile)))
	if !verifies(block.Bytes, []byte(encoded), signed.Signatures[0].Sig) {
		return errors.New("the signature of the statement is not valid")
	}
	// 3. The same key signed the record, and the record is one of the statement's batch.
	var proven record
	if err := json.Unmarshal([]byte(read(folder, "record.json")), &proven); err != nil {
		return err
	}
	payload := []byte(read(folder, "payload"))
	digest := sha256.Sum256(payload)
	if hex.EncodeToString(digest[:]) != proven.PayloadSHA256 || !verifies(block.Bytes, payload, proven.Signature) {
		return errors.New("the signature of the record is not valid")
	}
	root, err := parseHex(stated.Root)
	if err != nil {
		return err
	}
	leaf := binary.BigEndian.AppendUint32(nil, uint32(len(proven.ID)))
	leaf = bytes.Join([][]byte{leaf, []byte(proven.ID), digest[:], proven.Signature}, nil)
	if err := included(proven.Path, parseHex, stated.Count, root, proven.Index, leaf); err != nil {
		return fmt.Errorf("the record in its batch: %w", err)
	}
	return nil
}

// included returns an error unless the path leads from the data at the index to the root of a tree of that size.
func included(path []string, parse func(string) (tlog.Hash, error), size int64, root tlog.Hash, index int64, data []byte) error {
	var proof tlog.RecordProof
	for _, text := range path {
		hash, err := parse(text)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	return tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(data))
}

func parseHex(text string) (hash tlog.Hash, err error) {
	if n, err := hex.Decode(hash[:], []byte(text[:min(len(text), 2*tlog.HashSize)])); err != nil || n != tlog.HashSize || len(text) != 2*n {
		return hash, errors.New("malformed hash")
	}
	return hash, nil
}

func verifies(spki, message, signature []byte) bool {
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(message)
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, nil) == nil
	}
	return false
}

func read(folder, name string) string {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	return string(data)
}
