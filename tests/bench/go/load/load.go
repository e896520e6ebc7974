package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"bench/histogram"
	"bench/loop"
	"bench/spop"
)

const patience = 5 * time.Second // for a handshake, and for the last ACKs

type conn struct {
	loop.Conn
	ids  []uint64 // of the NOTIFY that is open in each slot; 0: none. A stream-id's slot is its remainder
	sent []int64  // when, in nanoseconds since base
	last []uint64 // the stream-id used last in each slot
	free []int32  // slots, with -rate
	late []int64  // points in time at which something should have been sent, and no slot was free
	out  []byte   // with -rate: what is due, until it is written
	bye  bool     // AGENT-DISCONNECT has come

	began   int64 // with -sessions: when it was dialled
	greeted bool  // with -sessions: AGENT-HELLO has come
}

type load struct {
	options
	base           time.Time
	loop           *loop.Loop
	conns          []*conn
	head, tail     []byte // of a NOTIFY's payload, around the number that comes back
	out            []byte
	due            []int32 // with -rate: the connections with something to write
	seen           histogram.Histogram
	counted        uint64 // round trips from started to ended
	answered       uint64 // all of them
	asked          uint64
	started, ended int64
	before, after  []float64
	stopping       bool
	failed         error
}

func (l *load) now() int64 { return int64(time.Since(l.base)) }

func connect(o options) (*load, error) {
	l := &load{options: o, base: time.Now()}
	l.head = append(spop.AppendString(nil, "check"), 2)
	l.head = append(spop.AppendString(l.head, "id"), spop.Uint64)
	l.tail = spop.AppendString(nil, "path")
	value := max(o.size-spop.Prefix-5-4-len(l.head)-4-len(l.tail)-2, 0)
	l.tail = append(l.tail, spop.String)
	l.tail = append(spop.AppendVarint(l.tail, uint64(value)), make([]byte, value)...)
	var err error
	if l.loop, err = loop.New(); err != nil {
		return nil, err
	}
	for key := 0; key < o.connections; key++ {
		if o.sessions {
			l.conns = append(l.conns, nil)
			if err := l.session(int32(key)); err != nil {
				return nil, fmt.Errorf("connection %d: %w", key+1, err)
			}
			continue
		}
		c, err := shakeHands(o)
		if err != nil {
			return nil, fmt.Errorf("connection %d: %w", key+1, err)
		}
		if err := l.loop.Add(c.FD, int32(key)); err != nil {
			return nil, err
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

// dial connects, and says HAPROXY-HELLO.
func dial(o options) (int, error) {
	address, err := loop.Address(o.connect)
	if err != nil {
		return 0, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	wait := syscall.NsecToTimeval(int64(patience))
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, address); err != nil {
		return 0, err
	}
	if _, err := syscall.Write(fd, spop.HaproxyHelloFrame()); err != nil {
		return 0, err
	}
	return fd, nil
}

func shakeHands(o options) (*conn, error) {
	fd, err := dial(o)
	if err != nil {
		return nil, err
	}
	got := make([]byte, 0, 1024)
	for spop.Next(got) == 0 && len(got) < cap(got) {
		n, err := syscall.Read(fd, got[len(got):cap(got)])
		if err == syscall.EINTR { // Go's own signals; a socket with a timeout is not read again by itself
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("no AGENT-HELLO: %w", err)
		}
		if n == 0 {
			return nil, errors.New("closed before AGENT-HELLO")
		}
		got = got[:len(got)+n]
	}
	if n := spop.Next(got); n != len(got) || spop.Type(got) != spop.AgentHello {
		return nil, fmt.Errorf("not an AGENT-HELLO: %q", got)
	}
	if err := loop.Prepare(fd); err != nil {
		return nil, err
	}
	return newConn(fd, o), nil
}

// session begins the next one of those that come one after the other in that place.
func (l *load) session(key int32) error {
	began := l.now()
	fd, err := dial(l.options)
	if err != nil {
		return err
	}
	if err := loop.Prepare(fd); err != nil {
		return err
	}
	l.conns[key] = newConn(fd, l.options)
	l.conns[key].began = began
	return l.loop.Add(fd, key)
}

func newConn(fd int, o options) *conn {
	c := &conn{Conn: loop.Conn{FD: fd}, ids: make([]uint64, o.inFlight), sent: make([]int64, o.inFlight)}
	c.last = make([]uint64, o.inFlight)
	for slot := 0; slot < o.inFlight; slot++ {
		c.last[slot] = uint64(slot)
		c.free = append(c.free, int32(slot))
	}
	return c
}

// notify appends the next NOTIFY of a slot to out, and returns that; it counts as sent at that time.
func (l *load) notify(out []byte, c *conn, slot int, at int64) []byte {
	id := c.last[slot] + uint64(l.inFlight)
	c.last[slot], c.ids[slot], c.sent[slot] = id, id, at
	l.asked++
	from := len(out)
	out = spop.AppendVarint(spop.BeginWhole(out, spop.Notify), id)
	out = append(append(out, 1), l.head...)
	out = append(spop.AppendVarint(out, id), l.tail...)
	return spop.End(out, from)
}

func (l *load) ready(key int32) {
	c := l.conns[key]
	in := l.loop.Read(&c.Conn)
	now := l.now()
	l.out = l.out[:0]
	for {
		n := spop.Next(in)
		if n < 0 || n > 0 && c.bye {
			l.failed = fmt.Errorf("connection %d: a frame too long, too short or behind the last: %q", key, in[:min(len(in), 64)])
		}
		if n <= 0 || l.failed != nil {
			break
		}
		l.failed = l.frame(c, in[:n], now)
		in = in[n:]
	}
	c.Keep(in)
	if len(l.out) > 0 || c.Waits() {
		l.loop.Write(&c.Conn, key, l.out)
	}
	if l.sessions && c.bye {
		_ = syscall.Close(c.FD)
		if !l.stopping && l.failed == nil {
			l.failed = l.session(key)
		}
	} else if c.Ended {
		_ = syscall.Close(c.FD)
		if !c.bye && l.failed == nil {
			l.failed = fmt.Errorf("connection %d: closed without AGENT-DISCONNECT", key)
		}
	}
}

func (l *load) frame(c *conn, frame []byte, now int64) error {
	if spop.Type(frame) == spop.AgentDisconnect {
		c.bye = true
		return nil
	}
	if l.sessions && !c.greeted && spop.Type(frame) == spop.AgentHello {
		c.greeted = true
		l.out = l.notify(l.out, c, 0, c.began)
		return nil
	}
	if spop.Type(frame) != spop.Ack || !spop.Whole(frame) {
		return fmt.Errorf("not a whole ACK: %q", frame)
	}
	ids, payload := spop.IDs(frame)
	id, n := spop.Varint(ids)
	slot := int(id % uint64(l.inFlight))
	if id == 0 || c.ids[slot] != id || n+1 != len(ids) || ids[n] != 1 {
		return fmt.Errorf("an ACK for a NOTIFY that is not open: %q", frame)
	}
	if !echoes(payload, id) {
		return fmt.Errorf("an ACK with another NOTIFY's answer: %q", frame)
	}
	c.ids[slot] = 0
	l.answered++
	if l.started > 0 && l.ended == 0 {
		l.counted++
	}
	if l.started > 0 && c.sent[slot] >= l.started {
		l.seen.Add(now - c.sent[slot])
	}
	switch {
	case l.sessions:
		l.out = append(l.out, spop.Disconnect(spop.HaproxyDisconnect)...)
	case l.rate > 0 && len(c.late) > 0:
		l.out = l.notify(l.out, c, slot, c.late[0])
		c.late = c.late[1:]
	case l.rate > 0 || l.stopping:
		c.free = append(c.free, int32(slot))
	default:
		l.out = l.notify(l.out, c, slot, now)
	}
	return nil
}

var echo = append(append([]byte{1, 3, 2}, spop.AppendString(nil, "echo")...), spop.Uint64) // set-var, of the transaction

func echoes(payload []byte, id uint64) bool {
	if len(payload) < len(echo) || string(payload[:len(echo)]) != string(echo) {
		return false
	}
	got, n := spop.Varint(payload[len(echo):])
	return got == id && n == len(payload)-len(echo)
}

// open returns how many NOTIFYs have no answer.
func (l *load) open() uint64 {
	open := l.asked - l.answered
	for _, c := range l.conns {
		open += uint64(len(c.late))
	}
	return open
}
