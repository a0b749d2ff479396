"""An engine that is not ours as a side: of all values of a run it gives the logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from harness.adapters.diverge.script import Rows, Script, Seen
from harness.adapters.protocol import Logits
from harness.command_engine import NOT_PROVIDED, CommandEngine, ask
from harness.tape import Tape, TapePoint, build_tape
from reference.ops import tape

TAP = "logits"


@dataclass(frozen=True, kw_only=True)
class ForeignSide:
    """Implements script.Side with the command's logits of all tokens at once."""

    run: str
    engine: CommandEngine
    script: Script

    def tape(self) -> Tape:
        marks = tape.exact(self._logits)
        notes = {
            (TAP, position): (int(marks.hashes[position]), int(marks.tops[position]), int(marks.nans[position]))
            for position in range(len(self._logits))
        }
        width = self.script.model.spec.vocab
        point = TapePoint(layer=-1, name=TAP, width=width, made_by=(f"command {self.engine.spec.name}",))
        caveats = (f"every value but the logits: {NOT_PROVIDED}",)
        return build_tape(self.script.head(self.run, self.engine.spec.kv, caveats), [point], notes)

    def rows(self) -> Rows:
        return {(TAP, position): row for position, row in enumerate(self._logits)}

    def look(self, key: str, position: int) -> Seen | None:
        """It has no ops that could be kept."""
        return None

    @cached_property
    def _logits(self) -> Logits:
        model = self.script.model
        return ask(self.engine, model.file.path, self.script.ids, model.spec.vocab).logits
