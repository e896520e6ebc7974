// Command agent is an SPOE agent that answers each NOTIFY at once: its ACK sets txn "echo" to the first argument it was asked
// about. It writes "listening HOST:PORT" and runs until it is killed.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"syscall"

	"bench/loop"
	"bench/spop"
)

var (
	listen = flag.String("listen", "127.0.0.1:0", "HOST:PORT")
	hold   = flag.Int("hold", 0, "keep so many NOTIFYs of a connection open: each answers the one that came so many before it")
	wrong  = flag.String("anomaly", "", "with each answer: stray (an ACK that nobody waits for before it), missing_fin (its FIN left out)")
)

const listening = 1 << 30 // the key of the listening socket

type conn struct {
	loop.Conn
	held     [][]byte // the ACKs kept back, in a ring
	notifies int
	goodbye  bool // its last frame has come, and ours is on its way
}

type agent struct {
	loop  *loop.Loop
	fd    int
	conns map[int32]*conn
	out   []byte
	stray uint64
}

func main() {
	flag.Parse()
	log.SetFlags(0)
	runtime.LockOSThread()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	listener, err := net.Listen("tcp4", *listen)
	if err != nil {
		return err
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	a := &agent{fd: int(file.Fd()), conns: map[int32]*conn{}}
	if a.loop, err = loop.New(); err != nil {
		return err
	}
	if err := syscall.SetNonblock(a.fd, true); err != nil {
		return err
	}
	if err := a.loop.Add(a.fd, listening); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "listening", listener.Addr())
	for {
		if err := a.loop.Wait(-1, a.ready); err != nil {
			return err
		}
	}
}

func (a *agent) ready(key int32) {
	if key == listening {
		a.accept()
		return
	}
	c := a.conns[key]
	in := a.loop.Read(&c.Conn)
	a.out = a.out[:0]
	for {
		n := spop.Next(in)
		if n < 0 {
			log.Print("a frame that is too long, or too short")
			c.Ended = true
		}
		if n <= 0 {
			break
		}
		a.frame(c, in[:n])
		in = in[n:]
	}
	c.Keep(in)
	a.loop.Write(&c.Conn, key, a.out)
	if c.Ended || c.goodbye && !c.Waits() {
		_ = syscall.Close(c.FD) // which takes it out of the loop
		delete(a.conns, key)
	}
}

func (a *agent) accept() {
	for {
		fd, _, err := syscall.Accept4(a.fd, syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if loop.Prepare(fd) != nil || a.loop.Add(fd, int32(fd)) != nil {
			_ = syscall.Close(fd)
			continue
		}
		a.conns[int32(fd)] = &conn{Conn: loop.Conn{FD: fd}, held: make([][]byte, *hold)}
	}
}

func (a *agent) frame(c *conn, frame []byte) {
	switch spop.Type(frame) {
	case spop.Notify:
		if *hold == 0 {
			a.out = a.answer(a.out, frame)
			return
		}
		kept := &c.held[c.notifies%*hold]
		c.notifies++
		a.out = append(a.out, *kept...)
		*kept = a.answer((*kept)[:0], frame)
	case spop.HaproxyHello:
		a.out = append(a.out, spop.AgentHelloFrame(frame)...)
	case spop.HaproxyDisconnect:
		for i := range c.held {
			a.out = append(a.out, c.held[(c.notifies+i)%*hold]...)
		}
		a.out = append(a.out, spop.Disconnect(spop.AgentDisconnect)...)
		c.goodbye = true
	}
}

func (a *agent) answer(out, notify []byte) []byte {
	ids, payload := spop.IDs(notify)
	flags := byte(1)
	switch *wrong {
	case "stray":
		a.stray++
		at := len(out)
		out = spop.AppendVarint(spop.BeginWhole(out, spop.Ack), 1<<40+a.stray)
		out = spop.End(append(out, 1), at)
	case "missing_fin":
		flags = 0
	}
	at := len(out)
	out = append(spop.Begin(out, spop.Ack, flags), ids...)
	out = append(out, 1, 3, 2) // set-var, three arguments, of the transaction
	out = append(spop.AppendString(out, "echo"), first(payload)...)
	return spop.End(out, at)
}

// first returns the typed data of the first argument of the first message, null if it has none.
func first(payload []byte) []byte {
	null := []byte{0}
	name, n := spop.Varint(payload)
	at := n + int(name) + 1 // behind it, the number of arguments
	if at >= len(payload) || payload[at-1] == 0 {
		return null
	}
	name, n = spop.Varint(payload[at:])
	at += n + int(name)
	if at >= len(payload) {
		return null
	}
	size := spop.Typed(payload[at:])
	if size == 0 {
		return null
	}
	return payload[at : at+size]
}
