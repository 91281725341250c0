"""The text of a condition, as one would have written it.

Cedar prints its syntax trees itself, with every string escaped, and puts parentheses around everything. Those
around a single attribute or number say nothing, and are taken away again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cedarpy import pst

__all__ = ["text_of_clause"]

#: A string, in which nothing is touched, or one attribute or number in parentheses that no function is given.
_TOKEN: Final = re.compile(
    r'("(?:\\.|[^"\\])*")|(?<!\w)\(((?:principal|action|resource|context)(?:\.\w+)*|-?[0-9]+)\)'
)


def text_of_clause(clause: pst.Clause) -> str:
    """What must hold: the condition of a ``when``, or the negation of that of an ``unless``."""
    import cedarpy
    from cedarpy import pst

    anything = pst.ScopeAny()
    policy = pst.Template("0", "permit", anything, anything, anything, (pst.When(clause.expr),), {})
    printed = str(cedarpy.PolicySet.from_pst(pst.PolicySet({}, {"0": policy}, ())))
    text = _bare(printed.partition("{")[2].rpartition("}")[0].strip())
    return f"!({text})" if isinstance(clause, pst.Unless) else text


def _bare(text: str) -> str:
    while (barer := _TOKEN.sub(lambda match: match[1] or match[2], text)) != text:
        text = barer
    return text
