"""What a session runs on: the device's signed statement, how it is collected, and how it is appraised."""

from ztsession.posture.appraisal import Appraisal, PostureAppraiser
from ztsession.posture.device import DevicePosture
from ztsession.posture.statement import PostureStatement

__all__ = ["Appraisal", "DevicePosture", "PostureAppraiser", "PostureStatement"]
