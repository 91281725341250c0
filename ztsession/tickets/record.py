"""What either end knows of one installation besides what its table holds."""

from ztsession._records import Installation

__all__ = ["Installation"]
