// Logged says whether a file is an entry of a log, by its c2sp.org/tlog-proof@v1: all that others' tools need for it, in some 40 lines.
//
// Usage: logged ENTRY PROOF SEAL_VKEY ORIGIN
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	defer func() {
		if why := recover(); why != nil {
			fmt.Println("no:", why)
			os.Exit(1)
		}
	}()
	entry, proof := must(os.ReadFile(os.Args[1])), must(os.ReadFile(os.Args[2]))
	place, checkpoint, _ := strings.Cut(string(proof), "\n\n")
	lines := strings.Split(place, "\n")
	var index int64
	must(fmt.Sscanf(lines[0]+"\n"+lines[1], "c2sp.org/tlog-proof@v1\nindex %d", &index))

	opened := must(note.Open([]byte(checkpoint), note.VerifierList(must(note.NewVerifier(os.Args[3])))))
	head, isOurs := strings.CutPrefix(opened.Text, os.Args[4]+"\n")
	if !isOurs {
		panic("the checkpoint is of another log")
	}
	tree := must(tlog.ParseTree([]byte("go.sum database tree\n" + head)))
	path := tlog.RecordProof{}
	for _, line := range lines[2:] {
		path = append(path, must(tlog.ParseHash(line)))
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		panic(err)
	}
	fmt.Println("yes")
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
