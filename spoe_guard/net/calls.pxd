# The same calls in C, made part of whoever cimports this. The interpreter is not let go of meanwhile: none of them waits.
cdef extern from *:
    """
    #include <errno.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <time.h>

    static char spoe_guard_read[65536]; /* READ_BYTES; what is in it is copied before the next read */

    static inline Py_ssize_t spoe_guard_receive(int fd) {
        Py_ssize_t count = recv(fd, spoe_guard_read, sizeof spoe_guard_read, MSG_DONTWAIT);
        return count >= 0 ? count : errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? -1 : -2;
    }
    static inline Py_ssize_t spoe_guard_send(int fd, const char *data, Py_ssize_t size) {
        Py_ssize_t count = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        return count >= 0 ? count : errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -2;
    }
    static inline Py_ssize_t spoe_guard_unacknowledged(int fd) {
        int count = 0;
        return ioctl(fd, TIOCOUTQ, &count) < 0 ? -2 : count;
    }
    static inline double spoe_guard_now(void) {
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    }
    """
    char spoe_guard_read[]
    Py_ssize_t spoe_guard_receive(int fd)
    Py_ssize_t spoe_guard_send(int fd, const char *data, Py_ssize_t size)
    Py_ssize_t spoe_guard_unacknowledged(int fd)
    double spoe_guard_now()
    int errno


cdef inline bytes receive(int fd):
    cdef Py_ssize_t count = spoe_guard_receive(fd)
    if count >= 0:
        return spoe_guard_read[:count]
    if count == -2:
        raise OSError(errno, "recv")
    return None


cdef inline Py_ssize_t send(int fd, bytes data) except -1:
    cdef Py_ssize_t count = spoe_guard_send(fd, data, len(data))
    if count == -2:
        raise OSError(errno, "send")
    return count


cdef inline Py_ssize_t unacknowledged(int fd) except -1:
    cdef Py_ssize_t count = spoe_guard_unacknowledged(fd)
    if count == -2:
        raise OSError(errno, "ioctl")
    return count


cdef inline double now() noexcept:
    return spoe_guard_now()
