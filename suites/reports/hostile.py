"""Names as a stranger might choose them, and a gate that is full of them."""

from __future__ import annotations

import msgspec

from harness.gate.schema import Arm, CanaryVerdict, GateResult, ParityBlock, ParityCheck, RowVerdict, SelftestScore
from suites.reports.gates import gate, verdict
from suites.reports.stored_runs import machine

NAMES = (
    "a|`b`<script>document.title='x'</script><img src=http://e.com/x onerror=y>",
    "@someone #1 GH-12 **b** ~~c~~ $\\a$ [l](http://e.com) www.e.com :white_check_mark:",
    "x\n::error file=a::b\n##[add-mask]c\n## head\r\n- item\n```\n",
    "\u202egnp.exe\u2066 \u200b\u200f\x1b[31m\x00",
    "</details></summary></table><!-- zeroulp:pr --> --> ]]> &lt;b&gt; &#60;",
    '" onmouseover="x" style="position:fixed',
    "::warning::not a warning",
    "- [x] done",
)
ALL = " ".join(NAMES)


def hostile_gate() -> GateResult:
    """Every text of the schema that anyone outside could have chosen."""
    rows = []
    for number, name in enumerate(NAMES):
        texts = {"label": name, "model": name, "reason": name, "confirmation": name, "rerun": name}
        kind: RowVerdict = verdict(("wrong", "slower", "cannot_tell", "accepted", "same")[number % 5], number)
        rows.append(msgspec.structs.replace(kind, **texts, toggles={name: name}, noise_class=name, key=name))
    arm = Arm(spec=ALL, kind="commit", git_sha=ALL, version=ALL, numerics=1, tree=ALL, built=ALL)
    checks = tuple(ParityCheck(name=name, failed=1, values=1, differing=1) for name in NAMES)
    return gate(
        *rows,
        exit_code=1,
        base=arm,
        head=arm,
        device=ALL,
        policy={name: name for name in NAMES},
        canaries=tuple(CanaryVerdict(name=name, ratio=1.0, moved=True, reason=name) for name in NAMES),
        parity=ParityBlock(checks=checks, first_divergence=ALL, reproduce=ALL),
        selftest=SelftestScore(caught=1, planted=9, missed=NAMES),
        environment=machine(True, {"machine": ALL, "libraries": dict.fromkeys(NAMES, ALL), "cpu": ALL}),
        notes=NAMES,
        started=ALL,
        command=ALL,
        headline=f"REGRESSION: {ALL}",
    )
