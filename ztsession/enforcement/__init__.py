"""The policy enforcement point: embedded in each service, it verifies every call."""

from ztsession.enforcement.point import EnforcementPoint, PointAuthority
from ztsession.enforcement.remote import RemoteAuthority

__all__ = ["EnforcementPoint", "PointAuthority", "RemoteAuthority"]
