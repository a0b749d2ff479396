"""What the checks of a row's proof are called, in a run folder and in a report."""

from __future__ import annotations

from collections.abc import Mapping

# toggle -> (value of the left side, value of the right side, name of the check)
PAIRS: Mapping[str, tuple[str, str, str]] = {
    "graph": ("on", "off", "graph = direct"),
    "prefill": ("batched", "sequential", "batched = sequential"),
    "pdl": ("on", "off", "pdl = no pdl"),
}
VERIFIED = "verified = decoded"
AT_DEPTH = "verified = decoded at depth"
ORACLE = "engine = oracle"
