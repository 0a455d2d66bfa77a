// Keyset checks whether the seal key of an installation vouches for a file of public keys: "yes" and exit code 0, or "no", a reason and
// exit code 1. It has no code of VaultStream.
//
// Usage: keyset FILE SEAL_VKEY JOB_TOKEN. The proof is in FILE.tlog-proof.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := check(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("no:", err)
		os.Exit(1)
	}
	fmt.Println("yes")
}

func check(file, vkey, token string) error {
	keys, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	proof, err := os.ReadFile(file + ".tlog-proof")
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	checkpoint, found := strings.CutPrefix(string(proof), "c2sp.org/tlog-proof@v1\nindex 0\n\n")
	if !found {
		return errors.New("the proof is not one of a log with one entry")
	}
	opened, err := note.Open([]byte(checkpoint), note.VerifierList(verifier))
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s/jobs/%s/jwks/%x\n1\n%s\n", verifier.Name(), token, sha256.Sum256(keys), tlog.RecordHash(keys))
	if opened.Text != want {
		return errors.New("the seal key vouches for another file")
	}
	return nil
}
