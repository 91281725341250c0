"""One pass over a table's counters, as columns: what detectors read.

The GIL is released for the pass. The columns are those of the last pass and the next one writes over them;
they hold numbers of sessions, and no secret.
"""

import mmap
from math import exp

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ztsession._core cimport Table
from ztsession._records cimport bounded
from ztsession.zts cimport (
    ZTS_SCAN_DENIED,
    ZTS_SCAN_RATE,
    ZTS_SCAN_REPLAYED,
    ZTS_SCAN_VERDICTS,
    ZTS_SLOT_FIRST_VERDICT,
    zts_scan,
    zts_scan_columns,
    zts_scan_memory,
    zts_scan_rules,
)

from ztsession._core import VERDICTS

#: Why a row is on the short list; one row may have several reasons.
RATE, DENIED, REPLAYED = ZTS_SCAN_RATE, ZTS_SCAN_DENIED, ZTS_SCAN_REPLAYED
#: The verdicts of the columns of ``refused``, in their order.
CHARGED = VERDICTS[ZTS_SLOT_FIRST_VERDICT:]

cdef uint64_t SECOND_US = 1_000_000
#: By name: the type of a column, its bytes, and how many of it are in a row.
cdef dict COLUMNS = {
    "handles": ("Q", 8, 1),
    "accepted": ("Q", 8, 1),
    "last_accepted_us": ("Q", 8, 1),
    "known_us": ("Q", 8, 1),
    "rates": ("d", 8, 1),
    "expected": ("d", 8, 1),
    "refused": ("I", 4, ZTS_SCAN_VERDICTS),
    "short": ("I", 4, 1),
    "modes": ("B", 1, 1),
    "why": ("B", 1, 1),
}


cdef double positive(object value, str name) except -1:
    cdef double number = value
    if not 0 < number < 1e15:
        raise ValueError(f"{name} is {value}, expected a number above 0")
    return number


cdef class Scan:
    """What was counted for each live session of a table since the pass before, and what it usually is.

    Not thread-safe but for the table: that one may be used, and sessions may come and go, meanwhile.
    """

    cdef readonly Table table
    cdef readonly size_t rows
    cdef readonly uint64_t now_us
    cdef zts_scan_rules rules
    cdef zts_scan_memory *memory
    cdef zts_scan_columns columns
    cdef object region
    cdef uint8_t[::1] bytes_of_region
    cdef dict places
    cdef size_t short_rows
    cdef double burst_us
    cdef bint taking

    def __cinit__(self, Table table not None, *, rate_factor, rate_min_per_s, rate_window_ms, rate_memory_s,
                  rate_warm_up_s, denials, replays, burst_s):
        """``rate_factor`` times its own average, and no less than ``rate_min_per_s`` calls per second, is a
        jump; calls are counted for ``rate_window_ms``, averaged over about ``rate_memory_s``, and judged
        after ``rate_warm_up_s``. ``denials`` and ``replays``: how many are a burst, of which those of
        ``burst_s`` ago count for a third. ValueError for what is no such number.
        """
        self.table = table
        self.rules.rate_factor = positive(rate_factor, "rate_factor")
        self.rules.rate_min_per_s = positive(rate_min_per_s, "rate_min_per_s")
        self.rules.denials = positive(denials, "denials")
        self.rules.replays = positive(replays, "replays")
        self.rules.rate_window_us = bounded(rate_window_ms, "rate_window_ms", 1, 1 << 40) * 1000
        self.rules.rate_memory_us = bounded(rate_memory_s, "rate_memory_s", 1, 1 << 30) * SECOND_US
        self.rules.rate_warm_up_us = bounded(rate_warm_up_s, "rate_warm_up_s", 0, 1 << 30) * SECOND_US
        self.burst_us = positive(burst_s, "burst_s") * 1e6
        # Only what sessions have used is ever touched, so a large table costs nothing until it is full.
        self.memory = <zts_scan_memory *>calloc(table.table.capacity, sizeof(zts_scan_memory))
        if self.memory is NULL:
            raise MemoryError("no memory for what is remembered of a table's sessions")
        self.lay_out(table.table.capacity)

    def __dealloc__(self):
        free(self.memory)

    cdef int lay_out(self, size_t capacity) except -1:
        cdef size_t at = 0
        self.places = {}
        for name, (form, size, per_row) in COLUMNS.items():
            self.places[name] = (form, at, size * per_row)
            at += (capacity * size * per_row + 63) // 64 * 64
        self.region = mmap.mmap(-1, at, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes_of_region = self.region
        cdef uint8_t *start = &self.bytes_of_region[0]
        self.columns.handle = <uint64_t *>(start + self.start_of("handles"))
        self.columns.accepted = <uint64_t *>(start + self.start_of("accepted"))
        self.columns.last_accepted_us = <uint64_t *>(start + self.start_of("last_accepted_us"))
        self.columns.known_us = <uint64_t *>(start + self.start_of("known_us"))
        self.columns.rate = <double *>(start + self.start_of("rates"))
        self.columns.expected = <double *>(start + self.start_of("expected"))
        self.columns.refused = <uint32_t *>(start + self.start_of("refused"))
        self.columns.crossed = <uint32_t *>(start + self.start_of("short"))
        self.columns.mode = start + self.start_of("modes")
        self.columns.why = start + self.start_of("why")
        return 0

    cdef size_t start_of(self, str name) except? 0:
        return self.places[name][1]

    cdef object column(self, str name):
        form, at, size = self.places[name]
        return memoryview(self.region)[at:at + self.rows * size].cast(form).toreadonly()

    def take(self):
        """Make a pass; returns how many live sessions there were. RuntimeError while another is under way."""
        if self.taking:
            raise RuntimeError("another thread makes a pass with this scan")
        cdef uint64_t before_us = self.now_us
        self.now_us = self.table.now_us()
        self.rules.kept = exp(-<double>(max(self.now_us, before_us) - before_us) / self.burst_us)
        self.taking = True
        with nogil:
            self.rows = zts_scan(&self.table.table, self.now_us, &self.rules, self.memory, &self.columns,
                                 &self.short_rows)
        self.taking = False
        return self.rows

    @property
    def crossed(self):
        """The short list: (row, why) of each session that has just crossed a threshold."""
        return [(self.columns.crossed[i], self.columns.why[self.columns.crossed[i]])
                for i in range(self.short_rows)]

    def record(self, size_t row):
        """What the session of a row was installed with; None when it is over by now."""
        if row >= self.rows:
            raise ValueError(f"row is {row}, expected one of {self.rows}")
        return self.table.record(self.columns.handle[row])

    def counted(self, size_t row, str verdict not None):
        """How often a session was refused so since the pass before; ``verdict``: one of ``CHARGED``."""
        if row >= self.rows:
            raise ValueError(f"row is {row}, expected one of {self.rows}")
        return self.columns.refused[row * ZTS_SCAN_VERDICTS + CHARGED.index(verdict)]

    def active(self, size_t first, size_t limit):
        """Rows of sessions that called since the pass before, at most ``limit`` of them, and where to go on:
        0 when that was all. The table is searched from row ``first``.
        """
        cdef size_t row = first
        found = []
        while row < self.rows and <size_t>len(found) < limit:
            if self.columns.accepted[row]:
                found.append(row)
            row += 1
        return found, (row if row < self.rows else 0)

    # ---- Columns, one item for each live session

    @property
    def handles(self):
        """The session's handle here."""
        return self.column("handles")

    @property
    def accepted(self):
        """Calls accepted since the pass before."""
        return self.column("accepted")

    @property
    def refused(self):
        """Calls refused since the pass before: one item for each of ``CHARGED``, row after row."""
        return self.column("refused")

    @property
    def rates(self):
        """Calls accepted per second in the last window."""
        return self.column("rates")

    @property
    def expected(self):
        """Calls accepted per second on average, up to the last window."""
        return self.column("expected")

    @property
    def last_accepted_us(self):
        """Session time of the last call that was accepted."""
        return self.column("last_accepted_us")

    @property
    def known_us(self):
        """For how long it is known to this scan, microseconds."""
        return self.column("known_us")

    @property
    def modes(self):
        """Its mode, as a number out of ``ztsession.MODES``."""
        return self.column("modes")
