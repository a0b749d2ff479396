"""`zeroulp diverge`: where two ways to compute the same part first."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.diverge_text import element_text, lines
from harness.cli.edge import cache_folder
from harness.cli.kernels import chosen_model
from harness.cli.options import FILE, json_option, read_tokens, require_place
from harness.errors import BadCall
from harness.words import plural

if TYPE_CHECKING:
    from harness.adapters.diverge.script import Script, Side
    from harness.divergence import Divergence, Found

DEFAULT_PROMPT, DEFAULT_STEPS = 16, 4
RESULT, LEFT, RIGHT = "divergence.json", "a.npz", "b.npz"


@click.command()
@click.argument("words", nargs=-1, metavar="[A B MODEL | TAPE1 TAPE2 | A MODEL]")
@click.option("--tokens", metavar="IDS", help="Token ids, for example 1,2,3.")
@click.option("--tokens-file", type=FILE, help="A text file of token ids, apart by commas or white space.")
@click.option(
    "--prompt-length",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"N seeded random tokens, and STEPS more; others for another N.  [default: {DEFAULT_PROMPT}]",
)
@click.option(
    "-n",
    "steps",
    type=click.IntRange(min=0),
    metavar="STEPS",
    help=f"Tokens at the end given one by one.  [default: {DEFAULT_STEPS}]",
)
@click.option(
    "--ulps", type=click.IntRange(min=1), default=None, metavar="N", help="Compare values, up to N ulps apart."
)
@click.option("--shared", is_flag=True, help="With --ulps: the taps that both sides have are enough.")
@click.option(
    "--save", "place", type=FILE, default=Path("diverged"), show_default=True, help="Folder for what differs."
)
@click.option("--record", type=FILE, metavar="FILE", help="Store the tape of A instead of comparing.")
@click.option("--replay", type=FILE, metavar="FOLDER", help="Run a saved op again, on both sides.")
@click.option("--at", "watch", hidden=True, help="With --record: also keep the op that makes KEY@POSITION.")
@click.option("--op-file", type=FILE, hidden=True, help="With --at: where.")
@json_option
def diverge(
    words: tuple[str, ...],
    tokens: str | None,
    tokens_file: Path | None,
    prompt_length: int | None,
    steps: int | None,
    ulps: int | None,
    shared: bool,
    place: Path,
    record: Path | None,
    replay: Path | None,
    watch: str | None,
    op_file: Path | None,
    as_json: bool,
) -> int:
    """Find the first op at which two ways to compute the same tokens differ.

    A and B are ideal, oracle, host or cuda, with toggles as in host:graph=off,fused=off, any of these in another commit
    as in HEAD~1@host, command:PATH of an engine.toml, of which the logits are compared, or a stored tape. MODEL is the
    path of a .gguf file or NAME:QUANT of a synthetic one. Both run the same tokens; a hash of what every op wrote is
    noted on the way, in a captured graph too. The first difference in causal order is named with step, row, layer, tap,
    element and both values; the op and all it read are saved.

    Fused kernels have fewer values than the ops they stand for: where only one side is fused, the values that both have
    are compared. --ulps compares the values of all taps instead of hashes, for ideal, and for engines with
    graph=off,fused=off. Where a side lacks taps of the other, equal ones are not enough (exit code 3)
    without --shared.

    \b
    Examples:
      zeroulp diverge host oracle qwen3-tiny:Q4_K_M
      zeroulp diverge cuda cuda:graph=off,fused=off model.gguf --prompt-length 300 -n 8
      zeroulp diverge ideal oracle tiny.gguf --tokens 1,2,3 --ulps 100000
      zeroulp diverge command:engine.toml ideal tiny.gguf --ulps 100000 --shared
      zeroulp diverge HEAD~1@host host qwen3-tiny:Q8_0
      zeroulp diverge --record cuda.npz cuda qwen3-tiny:Q8_0
      zeroulp diverge cuda.npz host.npz
      zeroulp diverge --replay diverged/1.up@9-5f2c

    Exit codes: 0 equal, 1 they differ, 2 a bad call, 3 nothing or not all could be compared.
    """
    import json

    import msgspec

    from harness.divergence import diverge as find

    if shared and ulps is None:
        raise BadCall("--shared: is for --ulps; hashes are compared where both sides have them")
    if replay is not None:
        if words or record is not None:
            raise BadCall("--replay FOLDER runs what was saved: no further words")
        return _replay(replay, as_json=as_json)
    setting = _Setting(tokens=tokens, tokens_file=tokens_file, prompt_length=prompt_length, steps=steps)
    if record is not None:
        return _record(words, setting, record, watch, op_file, as_json=as_json)
    a, b, script = _sides(words, setting)
    found = find(a, b, script, ulps=ulps or 0, shared=shared)
    result = _saved(found, place) if found.left is not None and found.right is not None else found.divergence
    if as_json:
        click.echo(json.dumps({"exit_code": result.exit_code, **msgspec.to_builtins(result)}, indent=2))
        return result.exit_code
    for line in lines(result, stored=script is None):
        click.echo(line)
    return result.exit_code


class _Setting:
    """The options that say which tokens."""

    def __init__(
        self, *, tokens: str | None, tokens_file: Path | None, prompt_length: int | None, steps: int | None
    ) -> None:
        if sum(option is not None for option in (tokens, tokens_file, prompt_length)) > 1:
            raise BadCall("give the tokens with one of --tokens, --tokens-file and --prompt-length")
        self._tokens, self._file = tokens, tokens_file
        self._prompt = prompt_length
        self._steps = steps

    @property
    def given(self) -> bool:
        return (self._tokens, self._file, self._prompt, self._steps) != (None,) * 4

    def script(self, model_text: str) -> Script:
        """Raises BadCall or BadInput."""
        from harness.adapters.diverge.script import Script
        from harness.adapters.models import open_file
        from harness.adapters.oracle import checked_tokens
        from harness.proof import proof_tokens

        file = chosen_model(model_text)
        model = open_file(file.path)
        steps = self._steps if self._steps is not None else DEFAULT_STEPS
        if self._tokens is None and self._file is None:
            ids = proof_tokens(model.spec.vocab, prefilled=self._prompt or DEFAULT_PROMPT, decoded=steps).ids
        else:
            ids = checked_tokens(model, read_tokens(self._tokens, self._file))
            if self._steps is None:
                steps = min(steps, len(ids) - 1)
            if steps > len(ids):
                raise BadCall(f"-n {steps}: only {plural(len(ids), 'token is', 'tokens are')} given")
        ids = checked_tokens(model, ids)
        return Script(model=model, name=model_text, sha256=file.facts.sha256, ids=ids, decoded=steps)


def _sides(words: tuple[str, ...], setting: _Setting) -> tuple[Side, Side, Script | None]:
    from harness.adapters.diverge.sides import kv_of, parse_side, stored_side

    stored = [stored_side(word) for word in words[:2]]
    if len(words) == 2 and all(stored):
        if setting.given:
            raise BadCall("two stored tapes have their tokens: no --tokens, --prompt-length or -n")
        return stored[0], stored[1], None  # type: ignore[return-value]  # both are there
    if len(words) != 3:
        raise BadCall(f"words given: {len(words)}, expected A B MODEL, or the files of two tapes")
    settled = [
        side.stored.head.kv if side is not None else kv_of(word) for word, side in zip(words[:2], stored, strict=True)
    ]
    script = _script_of(words[2], stored, setting)
    found: list[Side] = []
    for word, own, kv in zip(words[:2], stored, reversed(settled), strict=True):
        found.append(
            own or parse_side(word, script, kv=kv, model=words[2], cache=cache_folder(), environment=os.environ)
        )
    return found[0], found[1], script


def _script_of(model: str, stored: list[Any], setting: _Setting) -> Script:
    """Of the options, or of the stored tape that takes part."""
    tape = next((side.stored.head for side in stored if side is not None), None)
    if tape is None or setting.given:
        return setting.script(model)
    tokens = ",".join(str(token) for token in tape.tokens)
    return _Setting(tokens=tokens, tokens_file=None, prompt_length=None, steps=tape.decoded).script(model)


def _record(
    words: tuple[str, ...], setting: _Setting, file: Path, watch: str | None, op_file: Path | None, *, as_json: bool
) -> int:
    import json

    from harness.adapters.diverge.sides import parse_side
    from harness.tape import write_tape

    if len(words) != 2:
        raise BadCall(f"words given: {len(words)}, expected A MODEL with --record")
    require_place(file, model=Path(words[1]))
    script = setting.script(words[1])
    side = parse_side(words[0], script, kv=None, model=words[1], cache=cache_folder(), environment=os.environ)
    tape = side.tape()
    if watch is not None and op_file is not None:
        key, _, position = watch.rpartition("@")
        seen = side.look(key, int(position))
        if seen is not None:
            seen.op.save(op_file, seen.row)
    write_tape(file, tape)
    facts = {"file": str(file), "run": side.run, "taps": len(tape.head.points), "positions": len(tape.head.tokens)}
    if as_json:
        click.echo(json.dumps({**facts, "rows": int(tape.present.sum()), "caveats": tape.head.caveats}, indent=2))
        return 0
    click.echo(
        f"{file}: {side.run}, {plural(len(tape.head.points), 'tap')} at {plural(len(tape.head.tokens), 'position')}"
    )
    for caveat in tape.head.caveats:
        click.echo(f"  {caveat}")
    return 0


def _saved(found: Found, place: Path) -> Divergence:
    """Write the op to a folder of its own below `place`; the divergence with its name."""
    import msgspec

    from harness.divergence import save_ops
    from harness.store import require_folder, write_atomically

    where = found.divergence.where
    assert where is not None
    folder = place / f"{where.key}@{where.position}-{secrets.token_hex(2)}"
    require_folder(folder, "folder")
    result = msgspec.structs.replace(found.divergence, folder=str(folder))
    save_ops(found, folder)
    write_atomically(folder / RESULT, _json(result).encode() + b"\n")
    return result


def _replay(folder: Path, *, as_json: bool) -> int:
    import json

    import msgspec

    from harness.adapters.diverge.sides import load_op, replayed
    from harness.divergence import Divergence, first_element

    try:
        stored = msgspec.json.decode((folder / RESULT).read_bytes(), type=Divergence)
    except OSError as error:
        raise BadCall(f"{folder}: not a saved divergence ({error.strerror})") from None
    except msgspec.MsgspecError as error:
        raise BadCall(f"{folder / RESULT}: not a saved divergence ({error})") from None
    sides = [load_op(folder / name) for name in (LEFT, RIGHT)]
    rows = [
        replayed(run, folder / name, cache=cache_folder(), environment=os.environ)
        for run, name in ((stored.left, LEFT), (stored.right, RIGHT))
    ]
    element = first_element(rows[0], rows[1], bound=stored.ulps)
    as_before = [first_element(row, before) is None for row, (_, before) in zip(rows, sides, strict=True)]
    if as_json:
        facts = {"differs": element is not None, "element": msgspec.to_builtins(element), "as_before": as_before}
        click.echo(json.dumps({"folder": str(folder), "ops": [op.text for op, _ in sides], **facts}, indent=2))
        return int(element is not None)
    click.echo(f"{stored.left}: {sides[0][0].text}\n{stored.right}: {sides[1][0].text}")
    for name, same in zip((stored.left, stored.right), as_before, strict=True):
        click.echo(f"  {name}: {'the row of the run again' if same else 'another row than in the run'}")
    if element is None:
        click.echo("EQUAL: the op alone gives the same row on both sides; the run's difference is not in the op")
        return 0
    click.echo(f"DIFFERS: {element_text(element)}")
    return 1


def _json(result: Divergence) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
