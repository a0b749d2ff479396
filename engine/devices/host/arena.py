"""Device memory of the host: one reserved stretch of address space, cut from the bottom up, no address used twice."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from engine.devices.host.native import ALIGNMENT, Range
from reference.spec.errors import OutOfMemory

_NO_RESERVE, _DONT_NEED, _NO_ACCESS = 0x4000, 4, 0  # Linux: MAP_NORESERVE, MADV_DONTNEED, PROT_NONE
MAX_ALLOCATIONS = 1 << 20  # csrc/checker.h
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def physical_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an allocation lies. Kept after it is freed, so that a stray access can be named."""

    name: str
    number: int
    start: int
    nbytes: int


class Arena:
    """Allocations with guard bytes on both sides (csrc/abi.h). Freed whole pages are taken away, the rest poisoned."""

    def __init__(self, *, limit: int, poison: bool, reserve: int, write_guards: Callable[[int, int], None]) -> None:
        self.limit = limit
        self._write_guards = write_guards
        self.used = 0  # rounded to ALIGNMENT, moved by allocate and release alone
        self._poison = poison
        while True:  # a limit on address space may refuse the whole of it
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
            start = _LIBC.mmap(None, reserve, _NO_ACCESS, flags, -1, 0)
            if start is not None and start != ctypes.c_void_p(-1).value:
                break
            reserve //= 2
            if reserve < 1 << 24:
                raise OutOfMemory("host device: no address space for its memory (needed 16 MiB)")
        self.start: int = start
        self.reserve = reserve
        self._unmap = weakref.finalize(self, _LIBC.munmap, start, reserve)
        self._top = 0
        self._open = 0  # whole pages from the start that can be accessed, in bytes
        self._places: list[Place] = []  # by start, freed ones too
        self._live: dict[int, Place] = {}
        self._numbers: list[int] = []  # of what is live, ascending, as their places are
        self._freed: list[int] = []  # numbers whose surroundings are still open
        self._ranges: ctypes.Array[Range] | None = None

    def allocate(self, nbytes: int, name: str) -> Place:
        self._join_freed()
        needed = rounded(nbytes)
        if len(self._places) + 1 >= MAX_ALLOCATIONS:
            raise OutOfMemory(
                f"host device: no memory for {name}: {MAX_ALLOCATIONS} allocations were made, no more fit"
            )
        if self.used + needed > self.limit or self._top + needed + 2 * ALIGNMENT > self.reserve:
            free = min(self.limit - self.used, max(0, self.reserve - self._top - 2 * ALIGNMENT))
            raise OutOfMemory(f"host device: no memory for {name}: {needed} bytes needed, {free} free")
        place = Place(name=name, number=len(self._places) + 1, start=self.start + self._top + ALIGNMENT, nbytes=nbytes)
        self._open_up_to(self._top + needed + 2 * ALIGNMENT)
        self._write_guards(place.start, nbytes)
        if self._poison:
            ctypes.memset(place.start, 0xFF, nbytes)
        self._top += needed + ALIGNMENT
        self.used += needed
        self._places.append(place)
        self._live[place.number] = place
        self._numbers.append(place.number)
        self._ranges = None
        return place

    def _open_up_to(self, end: int) -> None:
        pages = -(-end // mmap.PAGESIZE) * mmap.PAGESIZE
        if pages > self._open:
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            if _LIBC.mprotect(self.start + self._open, pages - self._open, protection):
                raise OutOfMemory(f"host device: the system refuses {pages - self._open} more bytes")
            self._open = pages

    def release(self, place: Place) -> None:
        if self._live.pop(place.number, None) is None:
            return
        self._ranges = None
        self.used -= rounded(place.nbytes)
        end = place.start + place.nbytes
        first = -(-place.start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if first < last:
            ctypes.memset(place.start, 0xFF, first - place.start)
            ctypes.memset(last, 0xFF, end - last)
            self._close(first, last)
        else:
            ctypes.memset(place.start, 0xFF, place.nbytes)
        del self._numbers[bisect.bisect_left(self._numbers, place.number)]
        self._freed.append(place.number)

    def _join_freed(self) -> None:
        """Takes away the pages that freed neighbours share, as far as nothing live lies in them.

        The system allows a process some 65,000 stretches of pages that differ. Not by `release`: a buffer may die while
        what lies around the live ones is looked at.
        """
        while self._freed:
            at = bisect.bisect_left(self._numbers, self._freed.pop())
            before = [self._live.get(number) for number in self._numbers[max(0, at - 1) : at]]
            after = [self._live.get(number) for number in self._numbers[at : at + 1]]
            if None in before or None in after:
                continue  # it has died meanwhile, and is in the list as well
            low, high = self.start, self.start + self._top
            for place in filter(None, before):
                low = place.start + rounded(place.nbytes) + ALIGNMENT
            for place in filter(None, after):
                high = place.start - ALIGNMENT
            first, last = -(-low // mmap.PAGESIZE) * mmap.PAGESIZE, high // mmap.PAGESIZE * mmap.PAGESIZE
            if first < last:
                self._close(first, last)

    @staticmethod
    def _close(first: int, last: int) -> None:
        _LIBC.madvise(first, last - first, _DONT_NEED)
        _LIBC.mprotect(first, last - first, _NO_ACCESS)

    def is_live(self, place: Place) -> bool:
        return place.number in self._live

    def live_ranges(self) -> ctypes.Array[Range]:
        if self._ranges is None:
            rows = [
                Range(place.start, place.nbytes) for place in list(self._live.values())
            ]  # a buffer may die meanwhile
            self._ranges = (Range * len(rows))(*rows)
        return self._ranges

    def describe(self, address: int) -> str:
        """An address in words: the buffer it lies in or next to, and whether that was freed."""
        if not self.start <= address < self.start + self._top + ALIGNMENT:
            return "outside all buffers" if self.start <= address < self.start + self.reserve else f"{address:#x}"
        at = bisect.bisect_right(self._places, address, key=lambda place: place.start) - 1
        following = self._places[at + 1] if at + 1 < len(self._places) else None
        if following is not None and address >= following.start - ALIGNMENT:
            before = following.start - address
            past = address - (self._places[at].start + self._places[at].nbytes) if at >= 0 else before
            if before < past:
                return f"{before} bytes before {self._words(following)}"
        place = self._places[at]
        offset = address - place.start
        if offset < place.nbytes:
            return f"byte {offset} of {self._words(place)}"
        return f"{offset - place.nbytes} bytes past the end of {self._words(place)} ({place.nbytes} bytes)"

    def _words(self, place: Place) -> str:
        return f"'{place.name}'" if self.is_live(place) else f"'{place.name}' (freed)"

    def close(self) -> None:
        self._live.clear()
        self._unmap()
