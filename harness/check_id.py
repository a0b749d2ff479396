"""The id of a check of a row's proof, which runs it alone: the row's key, the check in a word, and when it was made.

The checks of the suites have an id already, that of pytest.
"""

from __future__ import annotations

from typing import get_args

from harness.check_names import AT_DEPTH, ORACLE, PAIRS, VERIFIED
from harness.command_proof import AGAIN, ONE_BY_ONE, ORACLES
from harness.errors import BadCall
from harness.schema import Check, Record, When

WORDS = {
    **{toggle: name for toggle, (_, _, name) in PAIRS.items()},
    "verify": VERIFIED,
    "depth": AT_DEPTH,
    "oracle": ORACLE,
    **{name.rpartition(" ")[2]: name for name in ORACLES},
    "one_by_one": ONE_BY_ONE,
    "again": AGAIN,
}


class CheckId(Record, frozen=True, kw_only=True):
    """`key` is that of a row, or the beginning of one."""

    key: str
    word: str  # of WORDS
    when: When

    @property
    def name(self) -> str:
        """As Check has it."""
        return WORDS[self.word]


def check_id(key: str, check: Check) -> str:
    """As "3f2a51c0d9e8b7a6:graph:before"; a check of a name that is not known here has the name itself."""
    word = next((word for word, name in WORDS.items() if name == check.name), check.name)
    return f"{key}:{word}:{check.when}"


def parse_check_id(text: str) -> CheckId:
    """Raises BadCall."""
    key, _, rest = text.partition(":")
    word, _, when = rest.partition(":")
    for known in get_args(When):
        if key and word in WORDS and when == known:
            return CheckId(key=key, word=word, when=known)
    expected = f"KEY:CHECK:WHEN, CHECK one of {', '.join(WORDS)}, WHEN before or after"
    raise BadCall(f"check {text!r}: expected {expected}, or the id of a test, as suites/FILE.py::TEST")
