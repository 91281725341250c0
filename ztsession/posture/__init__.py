"""What a session runs on: how a device shows it, which devices are enrolled, and how it is appraised."""

from ztsession.posture.appraisal import Appraisal, PostureAppraiser
from ztsession.posture.device import DevicePosture
from ztsession.posture.devices import Device, StoredDevices
from ztsession.posture.eat_prover import EatPosture
from ztsession.posture.statement import PostureStatement

__all__ = [
    "Appraisal",
    "Device",
    "DevicePosture",
    "EatPosture",
    "PostureAppraiser",
    "PostureStatement",
    "StoredDevices",
]
