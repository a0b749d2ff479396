"""--where: what it selects, and what it refuses."""

from __future__ import annotations

import pytest

from harness.errors import BadCall
from harness.where import parse_where

ROW: dict[str, str | int] = {"quant": "Q8_0", "graph": "on", "context": 64}
NAMES = frozenset(ROW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('quant == "Q8_0"', True),
        ('quant != "Q8_0"', False),
        ('quant == "Q8_0" and graph == "off"', False),
        ('quant == "Q4_0" or graph == "on"', True),
        ('not graph == "on"', False),
        ("context < 100", True),
        ("10 < context <= 64", True),
        ("10 < context < 64", False),
        ("context >= 65", False),
        ('quant in ("Q4_0", "Q8_0")', True),
        ('quant not in ["Q4_0", "Q8_0"]', False),
        ('graph < 3', False),
        ('"on" == graph', True),
        ('(quant == "Q8_0" or context > 1000) and not (graph == "off")', True),
    ],
)  # fmt: skip
def test_selects(text: str, expected: bool) -> None:
    assert parse_where(text, NAMES)(ROW) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quant ==", "column"),
        ('qant == "Q8_0"', "unknown field 'qant', expected one of context, graph, quant"),
        ("quant", "'quant' is not a comparison"),
        ("__import__('os').system('true') == 0", "unknown field '__import__'"),
        ("quant.upper() == 'Q8_0'", "is not a comparison"),
        ("context + 1 == 65", "is not a comparison"),
        ("quant is 'Q8_0'", "use == or !="),
        ("quant == 1.5", "is not a comparison"),
        ("lambda: 1", "is not a comparison"),
        ("(" * 500 + "1" + ")" * 500, "--where"),
        ("\0", "--where"),
        ("", "--where"),
    ],
)
def test_refuses_in_one_line(text: str, message: str) -> None:
    with pytest.raises(BadCall) as error:
        parse_where(text, NAMES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ['kv == "f16"', 'kv != "f16"', 'not kv == "f16"'])
def test_a_row_without_the_field_is_refused_and_not_taken_for_another_value(text: str) -> None:
    with pytest.raises(BadCall, match="a row has no field 'kv', only context, graph, quant"):
        parse_where(text, NAMES | {"kv"})(ROW)
