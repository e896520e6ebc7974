"""``python tests/sandbox.py SYSTEMD-ANALYZE UNIT COMMAND...``: COMMAND with the system calls that a systemd unit leaves it.

What systemd does with SystemCallFilter, MemoryDenyWriteExecute, RestrictAddressFamilies and NoNewPrivileges, done by hand, since
systemd itself has to be PID 1. Source: systemd.exec(5), seccomp(2), Linux' include/uapi/linux/{filter,seccomp}.h.
"""

import ctypes
import errno
import os
import platform
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

HEADERS: Final = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_LOAD, _EQUAL, _RETURN, _AND = 0x20, 0x15, 0x06, 0x54  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K, BPF_ALU|AND|K
_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARGUMENTS: Final = 16
_WRITE, _EXEC = 2, 4

Instruction = tuple[int, int, int, int]


class Unit:
    """The lines of a unit's [Service], by key."""

    def __init__(self, path: Path) -> None:
        self._lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]

    def all(self, key: str) -> list[str]:
        return [line.partition("=")[2] for line in self._lines if line.startswith(f"{key}=")]

    def words(self, key: str) -> list[str]:
        return [word for line in self.all(key) for word in line.split()]


def groups(analyze: str) -> dict[str, set[str]]:
    """Return the members of each group of system calls, as systemd has them."""
    sent = subprocess.run([analyze, "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True).stdout
    found: dict[str, set[str]] = {}
    current = ""
    for line in sent.splitlines():
        if line.startswith("@"):
            current = line.strip()
            found[current] = set()
        elif line.startswith(" ") and not line.strip().startswith("#"):
            found[current].add(line.strip())
    return found


def calls(unit: Unit, known: dict[str, set[str]]) -> set[str]:
    """Return which system calls are left by the unit's SystemCallFilter, of which the first line has to be a list of them."""

    def members(name: str) -> set[str]:
        return set().union(*map(members, known[name])) if name.startswith("@") else {name}

    left: set[str] = set()
    for line in unit.all("SystemCallFilter"):
        named = set().union(*map(members, line.removeprefix("~").split()))
        left = left - named if line.startswith("~") else left | named
    return left


def numbers() -> dict[str, int]:
    """Return the number of each system call.

    Raises:
        OSError: the header that says so is not here.
    """
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, "the numbers of system calls are known for x86_64 alone")
    text = next((Path(header).read_text() for header in HEADERS if Path(header).exists()), None)
    if text is None:
        raise OSError(errno.ENOENT, "no asm/unistd_64.h")
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def program(allowed: Iterable[int], number: dict[str, int], families: Iterable[int]) -> list[Instruction]:
    """Return the filter: what is not allowed fails with EPERM, another address family with EAFNOSUPPORT."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    load = (_LOAD, 0, 0, _NUMBER)
    made: list[Instruction] = [load]
    for name, bits in (("mmap", _WRITE | _EXEC), ("mprotect", _EXEC), ("pkey_mprotect", _EXEC)):  # MemoryDenyWriteExecute
        checked = [(_LOAD, 0, 0, _ARGUMENTS + 2 * 8), (_AND, 0, 0, bits), (_EQUAL, 0, 1, bits), refuse, load]
        made += [(_EQUAL, 0, len(checked), number[name]), *checked]
    families = list(families)
    checked = [(_LOAD, 0, 0, _ARGUMENTS)]
    checked += [(_EQUAL, len(families) - at, 0, family) for at, family in enumerate(families)]
    checked += [(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT), load]
    made += [(_EQUAL, 0, len(checked), number["socket"]), *checked]
    for each in sorted(allowed):
        made += [(_EQUAL, 0, 1, each), (_RETURN, 0, 0, _ALLOW)]
    return [*made, refuse]


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine(made: list[Instruction]) -> None:
    """Put this process, and all it becomes, under the filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    packed = b"".join(struct.pack("=HBBI", *each) for each in made)
    wanted = _Filter(len(made), packed)
    asked = ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0))
    for arguments in asked:
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def main(analyze: str, path: str, *command: str) -> None:
    unit, number = Unit(Path(path)), numbers()
    allowed = [number[name] for name in calls(unit, groups(analyze)) if name in number]
    families = [getattr(socket, family) for family in unit.words("RestrictAddressFamilies")]
    assert unit.all("MemoryDenyWriteExecute") == ["yes"]
    os.umask(int(unit.all("UMask")[0], 8))
    confine(program(allowed, number, families))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
