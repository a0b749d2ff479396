"""What `zeroulp diverge` says to a person."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from harness.words import plural

if TYPE_CHECKING:
    from harness.divergence import Divergence, Element


def lines(result: Divergence, *, stored: bool) -> list[str]:
    """The verdict and what a person needs to go on; `stored` if both sides are tapes of earlier runs."""
    at = f"{plural(result.taps, 'tap')} at {plural(result.positions, 'position')}"
    amount = f"{at}, {plural(result.rows, 'row')}, {plural(result.values, 'value')}"
    bound = f" within {plural(result.ulps, 'ulp')}" if result.ulps else ""
    remarks = [f"  {text}" for text in result.remarks]
    where = result.where
    if where is None:
        verdict = "EQUAL" if result.exit_code == 0 else "CANNOT TELL"
        return [*remarks, f"{verdict}: {result.left} and {result.right}{bound}: {amount}{_lacking(result)}"]
    layer = f"layer {where.layer}" if where.layer >= 0 else "outside the layers"
    found = [
        f"{result.left} and {result.right} differ first at step {where.step}, row {where.row}"
        f" (position {where.position}), {layer}, {where.tap}"
    ]
    if where.element is not None:
        found.append(f"  {element_text(where.element)}")
    elif where.left_note:
        found += [f"  {result.left}: {where.left_note}", f"  {result.right}: {where.right_note}"]
    found += [f"  {name}: {op}" for name, op in ((result.left, where.left_op), (result.right, where.right_op)) if op]
    found.append(f"  last equal before it: {where.after or 'nothing, it is the first'}")
    if where.between:
        found.append(
            f"  between the two only one side has {', '.join(where.between)}: fused=off on both sides splits it"
        )
    if where.other_inputs:
        found.append(f"  what it read differs, too: {', '.join(where.other_inputs)}")
    found += remarks
    if result.folder:
        found.append(f"  again: {shlex.join(['zeroulp', 'diverge', '--replay', result.folder])}")
    elif stored:
        found.append(
            f"  hashes only; for the values: zeroulp diverge A B {result.model}, with the ways that they are of"
        )
    return [*found, f"DIFFERS: compared {amount}{bound}{_lacking(result)}"]


def _lacking(result: Divergence) -> str:
    if not result.lacking:
        return ""
    return f"; {result.lacking}{'' if result.shared or result.where is not None else '; --shared if that is meant'}"


def element_text(element: Element) -> str:
    """The first value that differs, and how many more do."""
    apart = f"{element.ulps:,} ulp" if element.ulps is not None else "not finite"
    worst = f", worst {element.worst_ulps:,} ulp" if element.worst_ulps not in (None, element.ulps) else ""
    return (
        f"element {element.index} of {element.width}: {element.left} against {element.right}"
        f" (0x{element.left_bits} against 0x{element.right_bits}), {apart};"
        f" {element.differing} of {element.width} values differ{worst}"
    )
