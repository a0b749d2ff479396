"""Sizes as a user writes them: `rows`, `ceil(dim, 256)`, `4 * head_dim`. Whole numbers only."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

from harness.errors import BadCall

EXPECTED = "expected whole numbers, sizes, + - * // %, ceil(a, b), min(a, b) or max(a, b)"

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Mapping[str, Callable[[int, int], int]] = {
    "ceil": lambda a, b: -(-a // b),
    "min": min,
    "max": max,
}


def whole_number(text: str, sizes: Mapping[str, int], where: str) -> int:
    """The value of an expression over named sizes. Raises BadCall naming `where` it was given."""
    try:
        return _value(ast.parse(text, mode="eval").body, sizes)
    except KeyError as error:
        raise BadCall(f"{where} {text!r}: no size {error}, expected {', '.join(sizes)}") from None
    except ZeroDivisionError:
        raise BadCall(f"{where} {text!r}: divides by zero") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadCall(f"{where} {text!r}: {EXPECTED}") from None


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_value(left, sizes), _value(right, sizes))
    raise ValueError("not an expression over sizes")
