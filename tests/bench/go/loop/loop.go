// Package loop is an event loop on one thread, as little as can be between a socket and its bytes: the runtime's own network
// poller costs a switch of goroutines and a failed read more for each round trip, and the peers of a proxy must not be slower
// than it is. Needs asyncpreemptoff=1, and nothing else that runs.
package loop

import (
	"fmt"
	"net"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"
)

const (
	epollPwait2   = 441 // the same number on every architecture
	setTimerslack = 29
	bufferBytes   = 256 << 10
)

// Conn is a connected socket. What it cannot take at once is kept and written when it can.
type Conn struct {
	FD      int
	Ended   bool   // the peer has closed, or reset
	tail    []byte // the frame that has begun
	pending []byte
	writing bool // the loop waits for room, too
}

// Loop waits for many sockets at once.
type Loop struct {
	fd     int
	events []syscall.EpollEvent
	buffer []byte
}

// New returns an empty loop. Garbage is not collected from here on: nothing is made per frame.
func New() (*Loop, error) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(2 << 30)
	// Without it a wait for a point in time ends up to 50 us late.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerslack, 1, 0)
	fd, err := syscall.EpollCreate1(0)
	return &Loop{fd, make([]syscall.EpollEvent, 1024), make([]byte, bufferBytes)}, err
}

// Add waits for fd from now on; key is what Wait calls back with.
func (l *Loop) Add(fd int, key int32) error {
	return syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: key})
}

// Wait calls back for each socket that is ready; it waits for one no longer than most (negative: for ever).
func (l *Loop) Wait(most time.Duration, ready func(key int32)) error {
	var timeout *syscall.Timespec
	if most >= 0 {
		at := syscall.NsecToTimespec(int64(most))
		timeout = &at
	}
	n, _, errno := syscall.RawSyscall6(epollPwait2, uintptr(l.fd), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	if errno == syscall.EINTR {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("epoll_pwait2 (Linux 5.11 and later): %w", errno)
	}
	for i := range l.events[:n] {
		ready(l.events[i].Fd)
	}
	return nil
}

// Read takes what has come and returns it behind what Keep was given the last time; valid until the next Read of any socket.
func (l *Loop) Read(c *Conn) []byte {
	kept := copy(l.buffer, c.tail)
	c.tail = c.tail[:0]
	room := l.buffer[kept:]
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.FD), uintptr(unsafe.Pointer(&room[0])), uintptr(len(room)))
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		n = 0
	} else if errno != 0 || n == 0 {
		c.Ended = true
		n = 0
	}
	return l.buffer[:kept+int(n)]
}

// Keep what is not a whole frame yet.
func (c *Conn) Keep(tail []byte) { c.tail = append(c.tail, tail...) }

// Write sends out, in order behind what is still to be sent; the caller may use out again.
func (l *Loop) Write(c *Conn, key int32, out []byte) {
	if len(c.pending) > 0 {
		c.pending = append(c.pending, out...)
		out = nil
	}
	if len(out) > 0 {
		c.pending = append(c.pending[:0], out[c.send(out):]...)
	} else {
		left := copy(c.pending, c.pending[c.send(c.pending):])
		c.pending = c.pending[:left]
	}
	if waits := len(c.pending) > 0; waits != c.writing {
		c.writing = waits
		events := uint32(syscall.EPOLLIN)
		if waits {
			events |= syscall.EPOLLOUT
		}
		_ = syscall.EpollCtl(l.fd, syscall.EPOLL_CTL_MOD, c.FD, &syscall.EpollEvent{Events: events, Fd: key})
	}
}

func (c *Conn) send(out []byte) int {
	if len(out) == 0 {
		return 0
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.FD), uintptr(unsafe.Pointer(&out[0])), uintptr(len(out)))
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return 0
	}
	if errno != 0 {
		c.Ended = true
		return len(out)
	}
	return int(n)
}

// Waits tells whether something is still to be sent.
func (c *Conn) Waits() bool { return c.writing }

// Address of an IPv4 HOST:PORT.
func Address(text string) (*syscall.SockaddrInet4, error) {
	at, err := net.ResolveTCPAddr("tcp4", text)
	if err != nil {
		return nil, err
	}
	address := &syscall.SockaddrInet4{Port: at.Port}
	copy(address.Addr[:], at.IP.To4())
	return address, nil
}

// Prepare makes a connected or accepted socket one for the loop.
func Prepare(fd int) error {
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	return syscall.SetNonblock(fd, true)
}
