"""Cedar's syntax tree, as far as something here has to be known of a policy without evaluating it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Final

__all__ = ["COMPARISONS", "children", "nodes", "path_of"]

#: The operators that compare two values.
COMPARISONS: Final = ("eq", "not_eq", "less", "less_eq", "greater", "greater_eq")


def nodes(node: object) -> Iterator[object]:
    """Every node at and below ``node``."""
    yield node
    for child in children(node):
        yield from nodes(child)


def children(node: object) -> Sequence[object]:
    """What stands right below ``node``; nodes are dataclasses that hold nodes, tuples and maps of nodes."""
    if is_dataclass(node) and not isinstance(node, type):
        return [getattr(node, field.name) for field in fields(node)]
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, (tuple, list, frozenset, set)) else []


def path_of(node: object) -> str:
    """``context.posture.kernel`` and the like, written as in a policy; "" for whatever is no attribute."""
    from cedarpy import pst

    names: list[str] = []
    while isinstance(node, pst.GetAttr):
        names.append(node.attr)
        node = node.base
    return ".".join([node.name, *reversed(names)]) if names and isinstance(node, pst.Var) else ""
