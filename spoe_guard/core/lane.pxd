cimport cython

from spoe_guard.core.conversation.ledger cimport Ledger
from spoe_guard.core.conversation.pacing cimport Pace
from spoe_guard.core.terms.tally cimport Tally
from spoe_guard.wire cimport walk

cdef double _NOT_OPEN
cdef int _IDS_AT, _NOTIFY, _ACK, _KEY

@cython.locals(count=Py_ssize_t, after=Py_ssize_t, payload_at=Py_ssize_t, packed=cython.longlong, copy=bytes)
cpdef Py_ssize_t walk_notifies(Ledger ledger, Tally tally, bytes buf, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t most, double now) except -1
@cython.locals(count=Py_ssize_t, after=Py_ssize_t, packed=cython.longlong, since=double)
cpdef Py_ssize_t walk_acks(Ledger ledger, Tally tally, bytes buf, Py_ssize_t pos, Py_ssize_t end, double now) except -1


@cython.final
cdef class Lane:
    cdef public bint plain, several
    cdef public double deadline, soonest_s, active
    cdef public long long passed
    cdef public Py_ssize_t most
    cdef public Ledger ledger
    cdef public Tally tally
    cdef public Pace pace
    cdef public list ledgers

    @cython.locals(ledger=Ledger, most=Py_ssize_t, stop=Py_ssize_t)
    cpdef Py_ssize_t up(self, bytes data, Py_ssize_t pos, double now) except -1
    @cython.locals(pace=Pace, end=Py_ssize_t, stop=Py_ssize_t)
    cpdef Py_ssize_t down(self, Ledger ledger, bytes data, double now) except -1
    @cython.locals(key=cython.longlong, ledger=Ledger, chosen=Ledger)
    cdef Ledger _choose(self, bytes data, Py_ssize_t pos)
