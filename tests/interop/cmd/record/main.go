// Record writes the files of tests/golden from a conversation with the real
// derper:
//
//	go build -o derper tailscale.com/cmd/derper
//	go run ./cmd/record -derper ./derper -out ../golden
//
// It takes a good minute, the time until the first KeepAlive.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"ringrelay.test/interop/internal/golden"
	"ringrelay.test/interop/internal/relay"
)

func main() {
	log.SetFlags(0)
	derper := flag.String("derper", "", "path of the derper executable")
	out := flag.String("out", "../golden", "folder to write to")
	flag.Parse()
	if *derper == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := record(*derper, *out); err != nil {
		log.Fatalf("record: %v", err)
	}
}

func record(derper, out string) error {
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	full, err := relay.Locate(derper)
	if err != nil {
		return err
	}
	s, err := startDerper(full, dir)
	if err != nil {
		return err
	}
	defer s.Kill()

	page, err := s.VarzText() // before any connection counts
	if err != nil {
		return err
	}
	flags, err := golden.Flags(full)
	if err != nil {
		return err
	}
	all := []golden.Recording{
		{File: "derper-flags.txt", Bytes: golden.FlagLines(flags)},
		{File: "varz-derp-names.txt", Bytes: golden.VarzNames(page, "derp_")},
		{File: "varz-derp-types.txt", Bytes: golden.VarzTypes(page, "derp_")},
	}
	keepAlive := make(chan result, 1)
	go func() { keepAlive <- recordKeepAlive(s) }()
	for _, part := range []func(*relay.Server) ([]golden.Recording, error){
		golden.Converse, recordGoClient, recordMesh,
	} {
		recs, err := part(s)
		if err != nil {
			return err
		}
		all = append(all, recs...)
	}
	if err := write(out, all); err != nil {
		return err
	}
	log.Print("waiting for a KeepAlive")
	k := <-keepAlive
	if k.err != nil {
		return k.err
	}
	if err := write(out, []golden.Recording{k.rec}); err != nil {
		return err
	}
	return s.Stop(5 * time.Second)
}

func startDerper(path, dir string) (*relay.Server, error) {
	keyFile, err := golden.KeyFile(dir)
	if err != nil {
		return nil, err
	}
	psk := filepath.Join(dir, "mesh.key")
	if err := os.WriteFile(psk, []byte(golden.MeshKey+"\n"), 0o600); err != nil {
		return nil, err
	}
	p := relay.Program{Kind: relay.Derper, Path: path, Args: []string{"-mesh-psk-file=" + psk}}
	return relay.Start(p, relay.Options{KeyFile: keyFile})
}

func write(out string, recs []golden.Recording) error {
	for _, r := range recs {
		text := r.Bytes
		if filepath.Ext(r.File) == ".hex" {
			text = golden.EncodeHex(r.What, r.Bytes)
		}
		if err := os.WriteFile(filepath.Join(out, r.File), text, 0o644); err != nil {
			return err
		}
		fmt.Println(r.File)
	}
	return nil
}
