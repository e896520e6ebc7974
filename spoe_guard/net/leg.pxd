cimport cython

from spoe_guard.core.lane cimport Lane
from spoe_guard.core.conversation.ledger cimport Ledger
from spoe_guard.net cimport calls


@cython.final
cdef class Leg:
    # What an ordinary read touches, together.
    cdef int _fd
    cdef public int link_id
    cdef public bint is_agents, connected, closing, eof, full
    cdef bint _takes, _fin_waits, _was_reset, _waits, _is_lost
    cdef public Lane lane
    cdef public Ledger ledger
    cdef public Leg haproxy
    cdef public object track, relay
    cdef public bytearray _queue
    cdef bytes _unheard
    # The rest.
    cdef public int _paused
    cdef Py_ssize_t _written
    cdef public double close_by
    cdef public object side, sock
    cdef object _loop, _kept

    @cython.locals(data=bytes)
    cpdef _readable(self)
    cpdef take(self, bytes data)
    cpdef turn(self)
    @cython.locals(rest=bytes)
    cpdef hear_more(self)
    @cython.locals(done=Py_ssize_t, end=Py_ssize_t, left=Py_ssize_t, stop=Py_ssize_t, lane=Lane, rest=bytes, ahead=bytes)
    cdef _handle(self, bytes data, double now, bint fresh)
    cdef _leave_for_later(self, bytes rest)
    @cython.locals(ledger=Ledger, haproxy=Leg, stop=Py_ssize_t, part=bytes)
    cdef Py_ssize_t _to_haproxy(self, Lane lane, bytes data, double now) except -1
    @cython.locals(stop=Py_ssize_t, part=bytes, leg=Leg)
    cdef Py_ssize_t _to_agent(self, Lane lane, bytes data, Py_ssize_t pos, double now) except -1
    @cython.locals(sent=Py_ssize_t)
    cpdef write(self, bytes data)
