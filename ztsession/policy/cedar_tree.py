"""Cedar's syntax tree, as far as something here has to be known of a policy without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Final

__all__ = ["COMPARISONS", "nodes", "path_of"]

#: The operators that compare two values.
COMPARISONS: Final = ("eq", "not_eq", "less", "less_eq", "greater", "greater_eq")


def nodes(node: object) -> Iterator[object]:
    """Every node at and below ``node``; nodes are dataclasses that hold nodes, tuples and maps of nodes."""
    yield node
    if is_dataclass(node) and not isinstance(node, type):
        children: Sequence[object] = [getattr(node, field.name) for field in fields(node)]
    elif isinstance(node, dict):
        children = list(node.values())
    else:
        children = list(node) if isinstance(node, (tuple, list, frozenset, set)) else []
    for child in children:
        yield from nodes(child)


def path_of(node: object) -> str:
    """``context.posture.kernel`` and the like, written as in a policy; "" for whatever is no attribute."""
    from cedarpy import pst

    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return ".".join([node.name, *reversed(names)]) if names and isinstance(node, pst.Var) else ""
