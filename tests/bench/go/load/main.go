// Command load is HAProxy's side of SPOP as fast as it goes: so many connections, each with so many NOTIFYs open. It checks that
// each ACK answers a NOTIFY that is open on its connection, once, with what it asked about, and writes what it saw as JSON.
//
// With -rate NOTIFYs are sent at points in time that are fixed beforehand, and what each waited is counted from that point, also
// where it could not be sent because those before it were not answered: a stall is not left out of the figures.
//
// With -sessions a round trip is a whole session: connect, HELLO, one NOTIFY, DISCONNECT, close.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

type options struct {
	connect               string
	connections, inFlight int
	held                  int
	size                  int
	rate                  float64
	warm, length          time.Duration
	count                 uint64
	sessions              bool
	watch                 []int
}

type result struct {
	RoundTrips uint64             `json:"round_trips"`
	Seconds    float64            `json:"seconds"`
	Answered   uint64             `json:"answered"`
	Unanswered uint64             `json:"unanswered"`
	Mean       float64            `json:"mean_us"`
	P50        float64            `json:"p50_us"`
	P99        float64            `json:"p99_us"`
	P999       float64            `json:"p999_us"`
	Max        float64            `json:"max_us"`
	Own        float64            `json:"own_cpu_us"`
	Watched    map[string]float64 `json:"cpu_us"`
}

func main() {
	log.SetFlags(0)
	o := options{}
	flag.StringVar(&o.connect, "connect", "", "HOST:PORT of an agent, or of what stands in front of it")
	flag.IntVar(&o.connections, "connections", 1, "how many")
	flag.IntVar(&o.inFlight, "in-flight", 1, "NOTIFYs open on each connection")
	flag.IntVar(&o.held, "held", 0, "so many of them the agent keeps open (its -hold)")
	flag.IntVar(&o.size, "size", 128, "bytes of a NOTIFY on the wire, about")
	flag.Float64Var(&o.rate, "rate", 0, "NOTIFYs a second over all connections; 0: the next one as soon as one is answered")
	flag.DurationVar(&o.warm, "warm", 300*time.Millisecond, "how long before it counts")
	flag.DurationVar(&o.length, "time", 2*time.Second, "how long it counts")
	flag.Uint64Var(&o.count, "count", 0, "or until so many round trips were counted")
	flag.BoolVar(&o.sessions, "sessions", false, "a new connection for each NOTIFY, with HELLO and DISCONNECT; latency counts from connect")
	watch := flag.String("watch", "", "process ids, with commas: the CPU they use while it counts is in the result")
	idle := flag.Bool("idle", false, `shake hands, write "idle", and keep the connections until standard input ends`)
	flag.Parse()
	if o.sessions && (o.inFlight != 1 || o.rate > 0 || *idle) {
		log.Fatal("-sessions goes with one NOTIFY in flight, without -rate and -idle")
	}
	for _, pid := range strings.FieldsFunc(*watch, func(r rune) bool { return r == ',' }) {
		number, err := strconv.Atoi(pid)
		if err != nil {
			log.Fatal(err)
		}
		o.watch = append(o.watch, number)
	}
	runtime.LockOSThread()
	l, err := connect(o)
	if err != nil {
		log.Fatal(err)
	}
	if *idle {
		fmt.Println("idle")
		_, _ = io.Copy(io.Discard, os.Stdin)
	} else if err := l.run(); err != nil {
		log.Fatal(err)
	}
	if err := l.goodbye(); err != nil {
		log.Fatal(err)
	}
	if !*idle {
		_ = json.NewEncoder(os.Stdout).Encode(l.result())
	}
}

// cpu returns the CPU that a process (0: this one) has used so far, of user and system, with all of its threads, those that
// have ended, too; in microseconds. It is the clock behind clock_getcpuclockid(3).
func cpu(pid int) float64 {
	clock := (^pid)<<3 | 2
	var at syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&at)), 0)
	if errno != 0 {
		log.Fatalf("process %d: %v", pid, errno)
	}
	return float64(at.Nano()) / 1000
}

func (o options) cpus() []float64 {
	seen := []float64{cpu(0)}
	for _, pid := range o.watch {
		seen = append(seen, cpu(pid))
	}
	return seen
}

func (l *load) result() result {
	r := result{RoundTrips: l.counted, Seconds: float64(l.ended-l.started) / 1e9, Answered: l.answered, Unanswered: l.open()}
	us := func(ns int64) float64 { return float64(ns) / 1000 }
	r.P50, r.P99, r.P999, r.Max = us(l.seen.Quantile(0.5)), us(l.seen.Quantile(0.99)), us(l.seen.Quantile(0.999)), us(l.seen.Max)
	if l.seen.Count > 0 {
		r.Mean = us(l.seen.Sum) / float64(l.seen.Count)
	}
	r.Watched = map[string]float64{}
	for i, pid := range l.watch {
		r.Watched[strconv.Itoa(pid)] = l.after[i+1] - l.before[i+1]
	}
	r.Own = l.after[0] - l.before[0]
	return r
}
