package main

import (
	"fmt"
	"time"

	"bench/spop"
)

// run asks until the time, or the count, is over, and waits for the answers of what is open then.
func (l *load) run() error {
	began := l.now()
	if l.rate == 0 && !l.sessions {
		for key, c := range l.conns {
			l.out = l.out[:0]
			for slot := 0; slot < l.inFlight; slot++ {
				l.out = l.notify(l.out, c, slot, l.now())
			}
			l.loop.Write(&c.Conn, int32(key), l.out)
		}
	}
	due := 0
	for l.failed == nil {
		now := l.now()
		if l.started == 0 && now-began >= int64(l.warm) {
			l.before, l.started = l.cpus(), l.now()
		}
		if l.started > 0 && (l.count > 0 && l.counted >= l.count || l.count == 0 && now-l.started >= int64(l.length)) {
			break
		}
		most := int64(l.warm) + began - now
		if l.started > 0 {
			most = l.started + int64(l.length) - now
		}
		if l.rate > 0 {
			due = l.send(began, due, now)
			most = min(most, l.at(began, due)-l.now())
		} else if l.count > 0 {
			most = int64(patience)
		}
		if err := l.loop.Wait(time.Duration(max(most, 0)), l.ready); err != nil {
			return err
		}
	}
	l.after, l.ended = l.cpus(), l.now()
	l.stopping = true
	held := uint64(l.held * l.connections)
	return l.wait(func() bool { return l.open() <= held }, "not answered")
}

// at returns the point in time of the NOTIFY with that number.
func (l *load) at(began int64, number int) int64 { return began + int64(float64(number)/l.rate*1e9) }

// send asks what is due by now, the connections in turn, and returns the number of the next one. What is due on one connection
// goes out with one write: at a high rate a write for each would make the load what is measured.
func (l *load) send(began int64, due int, now int64) int {
	for at := l.at(began, due); at <= now; at = l.at(began, due) {
		key := due % len(l.conns)
		c := l.conns[key]
		due++
		if last := len(c.free) - 1; last < 0 {
			c.late = append(c.late, at)
		} else {
			slot := c.free[last]
			c.free = c.free[:last]
			if len(c.out) == 0 {
				l.due = append(l.due, int32(key))
			}
			c.out = l.notify(c.out, c, int(slot), at)
		}
	}
	for _, key := range l.due {
		c := l.conns[key]
		l.loop.Write(&c.Conn, key, c.out)
		c.out = c.out[:0]
	}
	l.due = l.due[:0]
	return due
}

// goodbye ends every connection as HAProxy does, and waits for the agent to do the same. With -sessions each ends by itself.
func (l *load) goodbye() error {
	l.stopping = true
	for key, c := range l.conns {
		if !l.sessions {
			l.loop.Write(&c.Conn, int32(key), spop.Disconnect(spop.HaproxyDisconnect))
		}
	}
	return l.wait(func() bool {
		for _, c := range l.conns {
			if !c.bye {
				return false
			}
		}
		return true
	}, "connections without AGENT-DISCONNECT")
}

func (l *load) wait(done func() bool, what string) error {
	end := l.now() + int64(patience)
	for !done() && l.failed == nil {
		if l.now() > end {
			return fmt.Errorf("%s within %v, with %d NOTIFYs open", what, patience, l.open())
		}
		if err := l.loop.Wait(100*time.Millisecond, l.ready); err != nil {
			return err
		}
	}
	return l.failed
}
