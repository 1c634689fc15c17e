"""Memory that nobody uses any more goes back to the system. Linux with glibc; elsewhere nothing."""

import asyncio
import ctypes
import os
from contextlib import suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3): bytes that may stay free, from which memory is mapped, heaps."""

LOOK_EVERY_S = 10.0
GROWTH_BYTES = 16 * 2**20


def set_limits() -> None:
    """Let large memory go back as soon as it is free, and all threads use one heap.

    glibc takes memory of a size that was freed once from its heap, where what is freed stays
    between what is not; and every thread's own heap keeps what it freed.
    """
    with suppress(OSError, AttributeError):  # not every C library can
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**20)
        library.mallopt(M_TRIM_THRESHOLD, 2**23)
        library.mallopt(M_ARENA_MAX, 1)


def trim() -> None:
    """Give back what is free amid the heap: a walk over it, without the GIL."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


async def keep_trimmed() -> None:
    """Trim whenever the process has grown by 16 MiB since it was last looked at; never returns."""
    level = resident_bytes()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if resident_bytes() > level + GROWTH_BYTES:
            await asyncio.to_thread(trim)
            level = resident_bytes()
        level = min(level, resident_bytes())


def resident_bytes() -> int:
    """Return the memory that this process has in use; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
