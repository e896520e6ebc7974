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
	"time"
)

// Echoed is the argument of a message whose value an agent sets the variable Echo to.
const (
	Echoed  = "path"
	Echo    = "echo"
	Allowed = "allowed"
)

var (
	listen = flag.String("listen", "127.0.0.1:0", "`HOST:PORT`; port 0: the kernel chooses")
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
	bound, err := net.Listen("tcp", *listen)
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
