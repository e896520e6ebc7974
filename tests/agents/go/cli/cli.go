// Package cli is what the agents have in common: their command line, and the first line that they print.
package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// Echoed is the argument of a message whose value an agent sets the variable Echo to.
const (
	Echoed  = "path"
	Echo    = "echo"
	Allowed = "allowed"
)

var (
	listen = flag.String("listen", "127.0.0.1:0", "`HOST:PORT`, where port 0 lets the kernel choose, or unix:/path")
	delay  = flag.String("delay-ms", "0:0", "how long an answer takes, at random between `MIN:MAX` milliseconds")
)

var shortest, longest int

// Start reads the command line and returns a listener; it prints where that is bound, and which version of library is inside,
// and of the parts beside it.
func Start(library string, parts ...string) net.Listener {
	flag.Parse()
	if n, err := fmt.Sscanf(*delay, "%d:%d", &shortest, &longest); n != 2 || err != nil || shortest > longest || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	bound, err := bind(*listen)
	if err != nil {
		log.Fatal(err)
	}
	versions := map[string]string{}
	for _, part := range parts {
		versions[part] = version(part)
	}
	said := map[string]any{
		"address": bound.Addr().String(), "library": library, "version": version(library), "parts": versions,
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
	return bound
}

// bind listens at an address; a Unix socket is for its owner and the group of its folder, as CrowdSec's bouncer makes it.
func bind(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return net.Listen("tcp", address)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // of one that was killed
		return nil, err
	}
	defer syscall.Umask(syscall.Umask(0o117))
	return net.Listen("unix", path)
}

// Work takes as long as the command line says that an answer takes.
func Work() {
	time.Sleep(time.Duration(shortest+rand.Intn(longest-shortest+1)) * time.Millisecond)
}

func version(library string) string {
	built, _ := debug.ReadBuildInfo()
	for _, module := range built.Deps {
		if module.Path == library {
			return module.Version
		}
	}
	return "unknown"
}
