"""What the documentation says of other systems' events is what becomes of them."""

from __future__ import annotations

from events_table import BEGIN, END, PAGE, generated, written


def test_the_table_of_events_is_the_one_in_force() -> None:
    """Row by row; `python tests/docs/events_table.py` writes it."""
    assert PAGE.read_text("utf-8").count(BEGIN) == PAGE.read_text("utf-8").count(END) == 1
    assert written() == generated()
