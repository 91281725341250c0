from typing import Final

LIMITS: Final[dict[str, int]]
