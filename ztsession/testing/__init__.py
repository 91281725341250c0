"""For tests and benchmarks of code that uses ztsession: both ends of a session in memory, and a clock to
move.
"""

from ztsession.clock import FakeClock
from ztsession.testing.pair import TestAuthority, pair

__all__ = ["FakeClock", "TestAuthority", "pair"]
