cimport cython

from spoe_guard.core.terms.tally cimport Tally
from spoe_guard.wire cimport walk

cdef int _KEY, _REMEMBERED, _FEWEST, _SPARE
cdef unsigned long long _SALT, _SPREAD, _MASK_64
cdef double _NOT_OPEN

@cython.locals(packed=cython.longlong)
cpdef long long key_of(bytes ids) except -1


@cython.final
cdef class _Ring:
    cdef long long[::1] _keys
    cdef int _next

    cdef int put(self, long long key) except -1
    @cython.locals(at=int, found=cython.longlong)
    cdef long long find(self, long long key) except? 0


@cython.final
cdef class History:
    cdef public Py_ssize_t open
    cdef Tally _tally
    cdef _Ring _ring
    cdef object _lost
    cdef double _lost_at
    cdef dict _large

    cdef int opened(self) except -1
    cdef int closed(self, Py_ssize_t count) except -1
    cpdef int record(self, long long key) except -1


@cython.final
cdef class _Table:
    cdef Py_ssize_t room
    cdef bint keeps
    cdef Py_ssize_t _head, _tail
    cdef int _shift
    cdef list _copies
    cdef long long[::1] _keys
    cdef double[::1] _times
    cdef int[::1] _index

    @cython.locals(most=Py_ssize_t, slot=Py_ssize_t, place=Py_ssize_t)
    cdef Py_ssize_t find(self, long long key) except? -100
    cdef double since(self, Py_ssize_t slot) except? -100
    cdef bytes copy(self, Py_ssize_t slot)
    @cython.locals(most=Py_ssize_t, slot=Py_ssize_t, place=Py_ssize_t)
    cdef Py_ssize_t free(self, long long key) except? -100
    @cython.locals(place=Py_ssize_t)
    cdef int put(self, Py_ssize_t slot, long long key, double since, bytes copy) except -1
    @cython.locals(place=Py_ssize_t)
    cdef int remove(self, Py_ssize_t slot, Py_ssize_t left) except -1
    cdef long long oldest(self) except? 0
    cdef double oldest_since(self) except? -100
    @cython.locals(keys=list, at=Py_ssize_t, key=cython.longlong)
    cdef list last(self, Py_ssize_t most)
    cdef list in_order(self)
    @cython.locals(mixed=cython.ulonglong)
    cdef Py_ssize_t _home(self, long long key) noexcept
    @cython.locals(most=Py_ssize_t, hole=Py_ssize_t, place=Py_ssize_t, home=Py_ssize_t)
    cdef int _close_up(self, Py_ssize_t slot) except -1
    cdef int _make_room(self, Py_ssize_t room) except -1
    @cython.locals(keys=cython.longlong[::1], times=cython.double[::1], copies=list, head=Py_ssize_t, tail=Py_ssize_t, before=Py_ssize_t, room=Py_ssize_t, count=Py_ssize_t, at=Py_ssize_t, place=Py_ssize_t)
    cdef int _grow(self) except -1


@cython.final
cdef class Ledger:
    # What an ordinary frame touches, together.
    cdef public Py_ssize_t count, large
    cdef long long _one
    cdef double _one_since
    cdef bytes _one_copy
    cdef public Py_ssize_t size, longest_ack, most
    cdef public bint takes, answers, answered_once
    cdef public double heard
    cdef public long long passed, opened
    cdef public History history
    cdef public object carrier
    cdef public Py_ssize_t most_kept, kept
    cdef _Table _table
    cdef bint _unordered
    cdef double _newest
    cdef object _late, _large_by_age
    cdef dict _large

    @cython.locals(slot=Py_ssize_t)
    cpdef bint open(self, long long key, double since, bytes copy) except -1
    @cython.locals(slot=Py_ssize_t, since=double, table=_Table)
    cpdef double settle(self, long long key) except? -100
    @cython.locals(slot=Py_ssize_t)
    cpdef double since_of(self, long long key) except? -100
    cdef int _spread(self) except -1
    cdef bytes _take_copy(self, bytes copy)
    cdef int _drop_copy(self, bytes copy) except -1
