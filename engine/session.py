"""One conversation with a model on a device: prefill, decode, generate; the engine's public face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.arena import Arena
from engine.device import Buffer, Counters, Device, DeviceError
from engine.engaged import Engagements, Tally, steps_taken
from engine.families import qwen3, qwen3_fused
from engine.families.qwen3 import Tap, no_tap
from engine.launch_log import LaunchLog, LoggedGraph
from engine.ops.activations import Activations
from engine.ops.advance import advance
from engine.ops.argmax import argmax, parts
from engine.tape import Tape
from engine.toggles import Toggles
from engine.watch import Watch
from reference.spec.errors import BadInput
from reference.spec.model import Model

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes that are fixed before the first step."""

    context: int  # positions the KV cache holds
    max_batch: int  # rows of one batched prefill pass
    logit_rows: int  # rows whose logits are computed at once


class Session:
    """A model, its KV cache and its buffers.

    All memory is taken here, before the first step. `device` and the loaded weights may be shared by several sessions.
    `watch`, which needs the toggle tape, keeps one op with its inputs.
    Raises BadInput for sizes that make no sense and OutOfMemory before anything is allocated.
    """

    def __init__(
        self,
        device: Device,
        model: Model | qwen3.Weights,
        *,
        context: int,
        toggles: Toggles | None = None,
        max_batch: int | None = None,
        grid_limit: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.toggles = toggles or Toggles()
        self.device = device
        rows = max(1, min(max_batch or self.toggles.chunk, self.toggles.chunk, context))
        self.limits = Limits(context=context, max_batch=rows, logit_rows=min(rows, 16))
        self.spec = model.spec
        if not 1 <= context <= self.spec.context_train:
            raise BadInput(f"context {context}: expected 1 to the model's {self.spec.context_train} positions")
        self._owned: qwen3.Weights | None = None
        self._weights = model if isinstance(model, qwen3.Weights) else self._load(model)
        self._arena = Arena(device)
        qwen3.plan(
            self._arena,
            self.spec,
            context=context,
            max_batch=rows,
            logit_rows=self.limits.logit_rows,
            kv=self.toggles.kv,
        )
        for name, shape in (("next_token", (1,)), ("tokens_out", (context,)), ("count", (1,))):
            self._arena.plan(name, shape, np.int32)
        self._arena.plan("tops", (1, parts(self.spec.vocab)), np.int64)
        self.tape = Tape(watch=watch) if self.toggles.tape == "on" else None
        if self.tape is not None:
            self.tape.plan(self._arena, layers=self.spec.layers, context=context, rows=rows)
        try:
            self._arena.allocate()
        except BadInput:
            if self._owned is not None:
                self._owned.close()
            raise
        self._buffers = qwen3.buffers(self._arena, self.spec)
        portable = self.toggles.portable == "on"
        self.has_pdl = device.has_pdl and not portable
        if self.tape is not None:
            self.tape.attach(self._arena)
        pdl = self.toggles.pdl == "on" and self.has_pdl
        self._stream = LaunchLog(
            device.stream(pdl=pdl, grid_limit=grid_limit, portable=portable), follower=self.tape
        )  # fmt: skip
        self._graphs: dict[tuple[int, bool], LoggedGraph] = {}  # by rows, and whether the next token is chosen in it
        self._graph_refused = "" if self.toggles.graph == "on" else "toggle graph is off"
        self._tally = Tally()
        self._length = 0
        self.tap: Tap = no_tap
        self.reset()

    # ---- what has been computed ---------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Positions filled so far."""
        return self._length

    @property
    def counters(self) -> Counters:
        return self._stream.counters

    @property
    def launches(self) -> LaunchLog:
        """Kernel counts by name, direct and replayed."""
        return self._stream

    def memory_bytes(self) -> int:
        """What the device's allocator gave this session: buffers and KV cache, and the weights if it loaded them."""
        return self._arena.memory_bytes() + (self._owned.memory_bytes if self._owned else 0)

    def cache(self, layer: int) -> tuple[Buffer, Buffer]:
        """Keys and values of a layer, each (kv_heads, context, head_dim)."""
        return self._buffers.keys[layer], self._buffers.values[layer]

    def poison(self) -> None:
        """Fill scratch and every cache cell that has not been written with NaN: a step may read none of them."""
        keep = {"cos", "sin", "position", "tokens", "count", "tokens_out", "arrivals"}
        for buffer in self._arena:
            if buffer.name.startswith(("keys.", "values.")):
                content = buffer.read()
                content[:, self._length :] = np.nan
                buffer.write(content)
            elif buffer.name not in keep:
                buffer.fill(0xFF)

    def engaged(self) -> Engagements:
        """Which paths the launches so far took, and why not the ones that were asked for."""
        return self._tally.engagements(
            self.toggles,
            self._stream,
            next((graph for (rows, _), graph in self._graphs.items() if rows == 1), None),
            refused=self._graph_refused,
            has_pdl=self.has_pdl,
        )

    # ---- computing ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget the conversation. Buffers and the captured graph stay."""
        self._length = 0
        self._buffers.position.write(np.zeros(1, np.int32))

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on. `generate_more` goes on there, with the token of the last step."""
        if not 0 <= length <= self._length:
            raise BadInput(f"truncate to {length}: the session holds {self._length} positions")
        self._length = length
        self._buffers.position.write(np.array([length], np.int32))

    def prefill(self, tokens: Sequence[int] | NDArray[np.integer], *, all_logits: bool = False) -> Logits:
        """Append tokens. Returns the logits of the last one, (1, vocab), or of each, (tokens, vocab)."""
        ids = self._checked(tokens)
        if self.toggles.prefill == "sequential":
            rows: list[Logits] = []
            for i, token in enumerate(ids):
                self._step(int(token))
                if all_logits or i == len(ids) - 1:
                    rows.append(self._read_logits(1))
            return np.concatenate(rows)
        pieces: list[Logits] = []
        for first in range(0, len(ids), self.limits.max_batch):
            chunk = ids[first : first + self.limits.max_batch]
            last = first + len(chunk) == len(ids)
            pieces += self._batched(chunk, len(chunk) if all_logits else int(last))
        return np.concatenate(pieces)

    def decode(self, token: int) -> Logits:
        """Append one token. Returns its logits, (vocab,)."""
        self._checked([token])
        self._step(token)
        logits: Logits = self._read_logits(1)[0]
        return logits

    def verify(self, tokens: Sequence[int] | NDArray[np.integer]) -> Logits:
        """Append a few tokens in one pass. Returns the logits of each, (tokens, vocab): those of `decode` one by one.

        Raises BadInput for more than `limits.logit_rows`.
        """
        ids = self._checked(tokens)
        rows, most = len(ids), self.limits.logit_rows
        if rows > most:
            raise BadInput(f"{rows} tokens to verify at once: this session computes logits of {most} rows")
        self._buffers.tokens.rows(0, rows).write(ids)
        self._buffers.position.write(np.array([self._length], np.int32))
        self._run_few(rows)
        self._length += rows
        return self._read_logits(rows)

    def verify_again(self, rows: int, n: int) -> None:
        """The pass of the last `verify`, of `rows` tokens, n times more at the same positions; nothing is copied."""
        for _ in range(n):
            self._run_few(rows)

    def generate(self, tokens: Sequence[int] | NDArray[np.integer], n: int) -> list[int]:
        """Append tokens, then n greedy ones chosen on the device (ties to the lowest id). Returns the n ids."""
        if n < 0 or self._length + len(tokens) + max(n - 1, 0) > self.limits.context:
            asked = f"{len(tokens)} tokens and {n} to generate at position {self._length}"
            raise BadInput(f"{asked}: the context holds {self.limits.context}")
        self.prefill(tokens)
        if n == 0:
            return []
        self._arena["count"].write(np.zeros(1, np.int32))
        self._buffers.position.write(np.array([self._length - 1], np.int32))
        self._choose()
        self.generate_more(n - 1)
        return [int(token) for token in self._arena["tokens_out"].read()[:n]]

    def generate_more(self, n: int) -> None:
        """n further greedy steps after `generate`, token and position moved on the device; nothing is copied back."""
        if self._length + n > self.limits.context:
            raise BadInput(
                f"{n} tokens to generate at position {self._length}: the context holds {self.limits.context}"
            )
        for _ in range(n):
            self._run_one(choose=True)

    def close(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        self._arena.close()
        if self._owned is not None:
            self._owned.close()

    def _load(self, model: Model) -> qwen3.Weights:
        self._owned = qwen3.load(self.device, model)
        return self._owned

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _checked(self, tokens: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int32]:
        ids = np.asarray(tokens, np.int64)
        if ids.ndim != 1 or not ids.size:
            raise BadInput("tokens: expected at least one token id")
        bad = ids[(ids < 0) | (ids >= self.spec.vocab)]
        if bad.size:
            raise BadInput(f"token id {bad[0]}: the vocabulary has 0 .. {self.spec.vocab - 1}")
        if self._length + ids.size > self.limits.context:
            asked = f"{ids.size} tokens at position {self._length} do not fit"
            raise BadInput(f"{asked}: the context holds {self.limits.context} positions")
        return ids.astype(np.int32)

    def _step(self, token: int) -> None:
        """One token at the current position, given by the host."""
        self._buffers.tokens.rows(0, 1).write(np.array([token], np.int32))
        self._buffers.position.write(np.array([self._length], np.int32))
        self._run_one()

    def _run_one(self, *, choose: bool = False) -> None:
        """One row; token and position are in device memory, and with `choose` so is the next token afterwards."""
        before = self.counters
        self._issue(1, choose)
        self._tally.one_row(before, self.counters)
        self._length += 1

    def _run_few(self, rows: int) -> None:
        """Some rows, logits of all; tokens and position are in device memory."""
        before = self.counters
        self._issue(rows, False)
        self._tally.few_rows(before, self.counters)

    def _issue(self, rows: int, choose: bool) -> None:
        graph = self._graph_of(rows, choose)
        if graph is not None:
            graph.launch()
        else:
            self._pass(rows, choose)

    def _pass(self, rows: int, choose: bool) -> None:
        qwen3.prefix(self._stream, self._weights, self._buffers, rows, tap=self.tap)
        self._region(rows)
        if choose:
            self._choose()

    def _region(self, rows: int) -> None:
        """Layers, final norm, head."""
        fused = self._fuses(rows)
        normed = self._layers(rows, fused=fused)
        self._head(0, rows, fused=fused, normed=normed)

    def _fuses(self, rows: int) -> bool:
        """Whether a pass of `rows` rows takes the kernels that do several operations in one."""
        paths = ("auto", "matvec") if rows == 1 else ("auto",)
        asked = self.toggles.fused == "on" and self.toggles.matmul in paths
        return asked and self.tap is no_tap

    def _layers(self, rows: int, *, fused: bool) -> Activations | None:
        """What the head multiplies, where the last layer has made it."""
        if fused:
            return qwen3_fused.region(self._stream, self._weights, self._buffers, rows)
        path = self.toggles.matmul
        qwen3.region(self._stream, self._weights, self._buffers, rows, path=path, tap=self.tap)
        return None

    def _head(self, first: int, rows: int, *, fused: bool, normed: Activations | None) -> None:
        if fused:
            qwen3_fused.head(self._stream, self._weights, self._buffers, first, rows, normed=normed)
            return
        path = self.toggles.matmul
        qwen3.head(self._stream, self._weights, self._buffers, first, rows, path=path, tap=self.tap)

    def _graph_of(self, rows: int, choose: bool) -> LoggedGraph | None:
        """The graph of a step, captured at the first chance; None if it is not to be replayed.

        A failed capture is said, never retried.
        """
        if self.tap is not no_tap or self._graph_refused:
            return None
        key = rows, choose
        if key not in self._graphs:
            try:
                with self._stream.capture() as capture:
                    self._pass(rows, choose)
                self._graphs[key] = capture.graph
            except DeviceError as error:
                self._graph_refused = f"capture failed: {error}"
        return self._graphs.get(key)

    def _batched(self, chunk: NDArray[np.int32], logits_of: int) -> list[Logits]:
        """One pass over the rows of `chunk`; logits of its last `logits_of` rows, in pieces."""
        rows = len(chunk)
        steps = steps_taken(self._stream)
        self._buffers.tokens.rows(0, rows).write(chunk)
        self._buffers.position.write(np.array([self._length], np.int32))
        qwen3.prefix(self._stream, self._weights, self._buffers, rows, tap=self.tap)
        fused = self._fuses(rows)
        normed = self._layers(rows, fused=fused)
        self._length += rows
        self._tally.batched(rows, steps_taken(self._stream) - steps)
        pieces: list[Logits] = []
        for first in range(rows - logits_of, rows, self.limits.logit_rows):
            count = min(self.limits.logit_rows, rows - first)
            self._head(first, count, fused=fused, normed=normed)
            pieces.append(self._read_logits(count))
        return pieces

    def _read_logits(self, rows: int) -> Logits:
        return np.asarray(self._buffers.logits.rows(0, rows).read(), np.float32)

    def _choose(self) -> None:
        """Greedy choice from the first row of logits; moves token and position on, in device memory."""
        argmax(
            self._stream,
            self._buffers.logits.rows(0, 1),
            scratch=self._arena["tops"],
            arrivals=self._buffers.arrivals,
            out=self._arena["next_token"],
        )
        advance(
            self._stream,
            self._arena["next_token"],
            token=self._buffers.tokens,
            position=self._buffers.position,
            tokens_out=self._arena["tokens_out"],
            count=self._arena["count"],
        )
