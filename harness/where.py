"""`--where EXPR`: a small expression over the fields of a row, for example `quant == "Q8_0" and graph == "on"`.

Names, text, numbers, lists, comparisons, `in`, `and`, `or`, `not`. It is walked, never evaluated as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping

from harness.errors import BadCall
from harness.schema import PlannedRow, Row

Value = str | int
Operand = Value | tuple[Value, ...]
Predicate = Callable[[Mapping[str, Value]], bool]

_ORDER: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def parse_where(text: str, names: frozenset[str]) -> Predicate:
    """Turn the expression into a predicate. Raises BadCall naming what is wrong; `names` are the fields a row can have.

    The predicate raises it, too, for a row that has not all of those named: rows of other engines have fewer.
    """
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise BadCall(f"--where {text!r}: {error.msg} at column {error.offset}") from None
    except (ValueError, RecursionError) as error:
        raise BadCall(f"--where {text[:40]!r}: not an expression ({error})") from None
    for node in ast.walk(body):
        if isinstance(node, ast.Name) and node.id not in names:
            raise BadCall(f"--where {text!r}: unknown field {node.id!r}, expected one of {', '.join(sorted(names))}")
    return _Reader(text).truth(body)


def fields(row: PlannedRow | Row) -> dict[str, Value]:
    """What an expression sees of a row."""
    model, shape = row.model, row.shape
    sizes = {"depth": shape.depth, "prompt": shape.prompt, "generated": shape.generated, "context": shape.context}
    named = {"model": model.name, "quant": model.quant, "device": row.device}
    return {**named, **sizes, "verify": shape.verify, **row.toggles}


def telling(row: PlannedRow | Row, among: Iterable[PlannedRow | Row], within: str = "") -> str:
    """An expression that leaves this row alone of `among`, which `within` left of a matrix; empty if it is alone.

    A second --where replaces the first, so `within` is taken over.
    """
    others, mine = [fields(other) for other in among], fields(row)
    apart = {name: value for name, value in mine.items() if any(other.get(name) != value for other in others)}
    terms = [f"({within})"] if within and apart else []
    return " and ".join([*terms, *(f"{name} == {_literal(value)}" for name, value in apart.items())])


def _literal(value: Value) -> str:
    """A Python literal; in double quotes where that needs no escape, so that the shell can take single ones."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable() and not set(value) & {'"', "\\"}
    return f'"{value}"' if plain else ascii(value)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def truth(self, node: ast.expr) -> Predicate:
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(value) for value in node.values]
            join = all if isinstance(node.op, ast.And) else any
            return lambda row: join(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.truth(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        raise self._refuse(node)

    def _comparison(self, node: ast.Compare) -> Predicate:
        operands = [self._operand(value) for value in (node.left, *node.comparators)]
        steps = [self._step(op) for op in node.ops]
        return lambda row: all(step(operands[i](row), operands[i + 1](row)) for i, step in enumerate(steps))

    def _operand(self, node: ast.expr) -> Callable[[Mapping[str, Value]], Operand]:
        if isinstance(node, ast.Name):
            name = node.id
            return lambda row: self._field(row, name)
        if isinstance(node, ast.Tuple | ast.List):
            items = tuple(self._constant(item) for item in node.elts)
            return lambda row: items
        value = self._constant(node)
        return lambda row: value

    def _field(self, row: Mapping[str, Value], name: str) -> Value:
        if name not in row:
            raise BadCall(f"--where {self._text!r}: a row has no field {name!r}, only {', '.join(sorted(row))}")
        return row[name]

    def _constant(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
            return node.value
        raise self._refuse(node)

    def _step(self, op: ast.cmpop) -> Callable[[Operand, Operand], bool]:
        if isinstance(op, ast.Eq):
            return operator.eq
        if isinstance(op, ast.NotEq):
            return operator.ne
        if isinstance(op, ast.In):
            return lambda left, right: isinstance(right, tuple) and left in right
        if isinstance(op, ast.NotIn):
            return lambda left, right: isinstance(right, tuple) and left not in right
        order = _ORDER.get(type(op))
        if order is None:
            raise BadCall(f"--where {self._text!r}: `is` is not supported, use == or !=")
        return lambda left, right: isinstance(left, int) and isinstance(right, int) and order(left, right)

    def _refuse(self, node: ast.expr) -> BadCall:
        part = ast.get_source_segment(self._text, node) or self._text
        return BadCall(f"--where {self._text!r}: {part!r} is not a comparison of fields with text or numbers")
