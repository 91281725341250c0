"""The policy enforcement point: embedded in each service, it verifies every call."""

from ztsession.enforcement.point import EnforcementPoint
from ztsession.enforcement.record import Installation

__all__ = ["EnforcementPoint", "Installation"]
