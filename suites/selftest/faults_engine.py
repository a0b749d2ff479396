"""Faults above the launchers: the session, the step of the family, memory, engagement, the compiler's flags."""

from __future__ import annotations

from suites.selftest.planting import Fault

_REPLAY = "suites/graph_replay/test_replay.py::"
_PREFILL = "suites/prefill/test_batched.py::"
_ORACLE = "suites/families/test_engine_oracle.py::"
_SESSION = "engine/session.py"
_FAMILY, _FUSED = "engine/families/qwen3.py", "engine/families/qwen3_fused.py"

ENGINE_FAULTS: tuple[Fault, ...] = (
    # ---- graph ----
    Fault(
        name="replays-stay-at-the-captured-position",
        file=_SESSION,
        old="        self._buffers.position.write(np.array([self._length], np.int32))\n        self._run_one()",
        new="        if not self._graphs:\n"
        "            self._buffers.position.write(np.array([self._length], np.int32))\n"
        "        self._run_one()",
        checks=(f"{_REPLAY}test_replay_equals_direct[{{device}}-Q8_0-f16]",),
        origin="2",
    ),
    Fault(
        name="a-buffer-moves-after-capture",
        file=_SESSION,
        old="        self._length = 0\n        self._buffers.position.write(np.zeros(1, np.int32))",
        new="        self._length = 0\n"
        '        vars(self._buffers)["position"] = self.device.upload(np.zeros(1, np.int32), "position")',
        checks=(f"{_REPLAY}test_capture_survives_reset_and_another_prefill[{{device}}]",),
        origin="8",
    ),
    Fault(
        name="scratch-is-allocated-inside-the-step",
        file="engine/ops/activations.py",
        old="out = scratch.view(rows, padded(cols))",
        new="new = stream.device.alloc\n"
        '    out = Quantized(codes=new((rows, padded(cols)), "int8", "codes"),\n'
        '                    scales=new((rows, padded(cols) // 32), "float32", "scales"),\n'
        '                    sums=new((rows, padded(cols) // 32), "float32", "sums"))',
        checks=(f"{_REPLAY}test_plain_kernels_replay_too[{{device}}-Q4_K_M]",),
        origin="1",
    ),
    Fault(
        name="scratch-may-grow-after-capture",
        file="engine/arena.py",
        old="        if self._buffers:\n            raise DeviceError",
        new="        if self._buffers and not self._plans:\n            raise DeviceError",
        checks=(f"{_REPLAY}test_nothing_can_be_planned_after_allocation[{{device}}]",),
        origin="1",
    ),
    Fault(
        name="graph-silently-never-taken",
        file=_SESSION,
        old="if self.tap is not no_tap or self._graph_refused:",
        new="if self.tap is not no_tap or self._graph_refused or self.limits.context < 4096:",
        checks=(f"{_REPLAY}test_replay_equals_direct[{{device}}-Q8_0-f16]",),
        origin="5",
    ),
    Fault(
        name="graph-engagement-read-off-the-toggle",
        file="engine/engaged.py",
        old="engaged = None if steps == 0 else replayed == steps",
        new='engaged = None if steps == 0 else toggles.graph == "on"',
        checks=(f"{_REPLAY}test_a_failed_capture_is_said_and_leaves_the_session_right[{{device}}]",),
        origin="9",
    ),
    Fault(
        name="a-failed-capture-drops-its-token",
        file=_SESSION,
        old="        else:\n            self._pass(rows, choose)",
        new='        elif not self._graph_refused.startswith("capture"):\n            self._pass(rows, choose)',
        checks=(f"{_REPLAY}test_a_failed_capture_is_said_and_leaves_the_session_right[{{device}}]",),
        origin="6",
    ),
    Fault(
        name="generation-starts-one-position-late",
        file=_SESSION,
        old="np.array([self._length - 1], np.int32)",
        new="np.array([self._length], np.int32)",
        checks=(f"{_REPLAY}test_generate_equals_decoding_by_hand[{{device}}]",),
        origin="2",
    ),
    # ---- prefill ----
    Fault(
        name="token-written-to-the-next-slot",
        file=_SESSION,
        old="self._buffers.tokens.rows(0, 1).write(np.array([token], np.int32))",
        new="self._buffers.tokens.rows(1, 2).write(np.array([token], np.int32))",
        checks=(f"{_PREFILL}test_decode_goes_on_from_either[{{device}}]",),
        origin="17",
    ),
    Fault(
        name="a-chunk-starts-one-position-early",
        file=_SESSION,
        old="        self._buffers.tokens.rows(0, rows).write(chunk)\n"
        "        self._buffers.position.write(np.array([self._length], np.int32))",
        new="        self._buffers.tokens.rows(0, rows).write(chunk)\n"
        "        self._buffers.position.write(np.array([max(self._length - 1, 0)], np.int32))",
        checks=("suites/invariance/test_needle.py::test_a_token_in_random_batches[{device}-0]",),
        origin="18",
    ),
    Fault(
        name="a-chunk-border-loses-a-token",
        file=_SESSION,
        old="chunk = ids[first : first + self.limits.max_batch]",
        new="chunk = ids[first : first + self.limits.max_batch - (first > 0)]",
        checks=(f"{_ORACLE}test_over_a_split_border[{{device}}-f16]",),
        origin="18",
    ),
    Fault(
        name="prefill-silently-sequential",
        file=_SESSION,
        old='if self.toggles.prefill == "sequential":',
        new='if self.toggles.prefill == "sequential" or len(ids) < 64:',
        checks=(f"{_PREFILL}test_batched_equals_sequential[{{device}}-31]",),
        origin="10",
    ),
    Fault(
        name="logits-of-the-first-row-for-the-last",
        file=_FAMILY,
        old="x, h, logits = b.x.rows(first, first + rows),",
        new="x, h, logits = b.x.rows(0, rows),",
        checks=("suites/families/test_fused.py::test_many_rows[{device}-Q8_0-9]",),
    ),
    Fault(
        name="fused-logits-of-the-first-row-for-the-last",
        file=_FUSED,
        old="a = normed or _normed(stream, b, b.x.rows(first, first + rows),",
        new="a = normed or _normed(stream, b, b.x.rows(0, rows),",
        checks=(
            f"{_PREFILL}test_decode_goes_on_from_either[{{device}}]",
            f"{_PREFILL}test_only_the_last_row_is_asked_for[{{device}}-7]",
        ),
    ),
    # ---- the step ----
    Fault(
        name="kv-type-ignored",
        file=_FAMILY,
        old='np.float32 if kv == "f32" else np.float16',
        new="np.float16",
        checks=(f"{_ORACLE}test_tap_by_tap[{{device}}-Q8_0-f32]",),
    ),
    Fault(
        name="keys-turned-before-their-norm",
        file=_FAMILY,
        old="        qk_norm(stream, k.reshape(*kv_heads), layer.attn_k_norm, eps=spec.eps, out=k.reshape(*kv_heads))\n"
        '        tap("k_norm", i, k)\n',
        new="        rope(stream, k.reshape(*kv_heads), b.cos, b.sin, b.position)\n"
        "        qk_norm(stream, k.reshape(*kv_heads), layer.attn_k_norm, eps=spec.eps, out=k.reshape(*kv_heads))\n"
        '        tap("k_norm", i, k)\n',
        checks=(f"{_ORACLE}test_tap_by_tap[{{device}}-Q8_0-f16]",),
        origin="15",
    ),
    Fault(
        name="every-layer-attends-to-the-cache-of-the-first",
        file=_FAMILY,
        old="stream, q.reshape(*heads), b.keys[i], b.values[i], b.position,",
        new="stream, q.reshape(*heads), b.keys[0], b.values[0], b.position,",
        checks=(f"{_ORACLE}test_tap_by_tap[{{device}}-Q8_0-f16]",),
    ),
    Fault(
        name="residual-taken-after-the-norm",
        file=_FAMILY,
        old='        add(stream, x, projected, out=x)\n        tap("attn_residual", i, x)',
        new='        add(stream, h, projected, out=x)\n        tap("attn_residual", i, x)',
        checks=(f"{_ORACLE}test_tap_by_tap[{{device}}-Q8_0-f16]",),
    ),
    Fault(
        name="scale-of-the-scores-rounded-twice",
        file=_FAMILY,
        old="np.float32(1.0 / np.sqrt(np.float64(spec.head_dim)))",
        new="np.float32(1.0) / np.sqrt(np.float32(spec.head_dim))",
        checks=("suites/families/test_fused.py::test_shapes_of_many_rows[{device}-head_dim 96]",),
    ),
    Fault(
        name="fused-scale-of-the-scores-rounded-twice",
        file=_FUSED,
        old="np.float32(1.0 / np.sqrt(np.float64(head_dim)))",
        new="np.float32(1.0) / np.sqrt(np.float32(head_dim))",
        checks=(f"{_ORACLE}test_shapes[{{device}}-head_dim 96]",),
    ),
    # ---- memory, devices ----
    Fault(
        name="memory-summed-from-the-list-of-buffers",
        file="engine/arena.py",
        old="self._bytes = self._device.used_bytes() - before",
        new="self._bytes = sum(buffer.nbytes for buffer in self)",
        checks=(f"{_REPLAY}test_memory_is_what_the_allocator_says[{{device}}]",),
        origin="16",
    ),
    Fault(
        name="compiler-contracts-products-and-sums",
        file="engine/devices/host/toolchain.py",
        old='"-ffp-contract=off"',
        new='"-ffp-contract=fast"',
        checks=("suites/devices/test_ptx_conformance.py::test_a_product_and_its_sum_round_twice[{device}]",),
        origin="24",
        host_only=True,
    ),
)
