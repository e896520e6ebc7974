cimport cython

cdef double[::1] _BOUNDS
cdef int _NUMBER_OF_BOUNDS


@cython.final
cdef class Tally:
    cdef public long long bytes_to_agent, bytes_to_haproxy, ack_count, late_acks
    cdef public long long open_notifies, held_bytes, parked_notifies, arriving_notifies
    cdef public double ack_seconds, late_after
    cdef public object frames_to_agent, frames_to_haproxy, ack_buckets
    cdef long long[::1] _to_agent
    cdef long long[::1] _to_haproxy
    cdef long long[::1] _buckets

    @cython.locals(at=int)
    cpdef int observe_ack(self, double seconds) except -1
