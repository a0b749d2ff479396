"""Faults in the launchers: wrong sizes, arguments in another order, another path than the one asked for."""

from __future__ import annotations

from suites.selftest.planting import Fault

_KERNELS = "suites/kernels/test_"
_PATH = f"{_KERNELS}matmul_dispatch.py::test_the_kernel_of_a_path[{{device}}"


def _path_lost(type_name: str, taken: str, asked: str, rows: int) -> Fault:
    """The launcher of a type takes one path whatever is asked."""
    op = f"matmul_{type_name.lower()}"
    call = f'"{op}", "{type_name}", x, weight'
    sums = {"F32": "", "F16": "", "BF16": "", "Q4_K": " sums=True,"}.get(type_name, " sums=False,")
    return Fault(
        name=f"{type_name.lower().replace('_', '-')}-launcher-always-takes-the-{taken}",
        file=f"engine/ops/{op}.py",
        old=f"{call},{sums} path=path",
        new=f'{call},{sums} path="{taken}"',
        checks=(f"{_PATH}-{asked}-{rows}-{asked}-{type_name}]",),
        origin="10",
    )


LAUNCHER_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="add-launcher-takes-every-y-for-a-bias",
        file="engine/ops/add.py",
        old='int32("add", "y_stride", dim if whole else 0)',
        new='int32("add", "y_stride", 0)',
        checks=(f"{_KERNELS}add.py::test_shapes[{{device}}-3-5-False-None]",),
    ),
    Fault(
        name="advance-launcher-swaps-count-and-position",
        file="engine/ops/advance.py",
        old="args = (token, position, tokens_out, count,",
        new="args = (token, count, tokens_out, position,",
        checks=(f"{_KERNELS}advance.py::test_one_step[{{device}}-3-None]",),
        origin="2",
    ),
    Fault(
        name="argmax-launcher-forgets-the-last-logit",
        file="engine/ops/argmax.py",
        old='int32("argmax", "vocab", vocab)',
        new='int32("argmax", "vocab", max(vocab - 1, 1))',
        checks=(f"{_KERNELS}argmax.py::test_the_maximum_wherever_it_stands[{{device}}-33]",),
    ),
    Fault(
        name="attention-grid-that-depends-on-the-position",
        file="engine/ops/attention.py",
        old="items = blocks(step.kv_heads * splits(step.context)",
        new="items = blocks(step.kv_heads * (int(step.position.read()[0]) // SPLIT + 1)",
        checks=("suites/graph_replay/test_replay.py::test_plain_kernels_replay_too[{device}-Q4_K_M]",),
        origin="4",
    ),
    Fault(
        name="step-grid-that-depends-on-the-position",
        file="engine/ops/attention_step.py",
        old="    grid = blocks(min(items, ",
        new="    items = int(position.read()[0]) + 1\n    grid = blocks(min(items, ",
        checks=("suites/graph_replay/test_replay.py::test_replay_equals_direct[{device}-Q8_0-f16]",),
        origin="7",
    ),
    Fault(
        name="one-row-attends-by-the-way-of-many",
        file="engine/ops/attention.py",
        old='prefill = variant == "prefill" or (variant == "auto" and step.rows > SPLIT_ROWS)',
        new='prefill = variant in ("prefill", "auto")',
        checks=(f"{_KERNELS}attention.py::test_auto_takes_the_way_for_the_rows[{{device}}-1]",),
        origin="10",
    ),
    Fault(
        name="residual-launcher-leaves-the-pads",
        file="engine/ops/matmul_residual.py",
        old='int32(OP, "padded", out_width)',
        new='int32(OP, "padded", weight.rows)',
        checks=(f"{_KERNELS}matmul_residual.py::test_types[{{device}}-Q5_K-ahead]",),
    ),
    Fault(
        name="embedding-launcher-forgets-the-last-token",
        file="engine/ops/embedding.py",
        old='int32("embedding", "vocab", table.rows)',
        new='int32("embedding", "vocab", table.rows - 1)',
        checks=(f"{_KERNELS}embedding.py::test_rows[{{device}}-None-Q8_0-96]",),
        origin="21",
    ),
    Fault(
        name="kv-append-launcher-swaps-the-caches",
        file="engine/ops/kv_append.py",
        old="args = (keys, values, k, v, position, *sizes)",
        new="args = (values, keys, k, v, position, *sizes)",
        checks=(f"{_KERNELS}kv_append.py::test_shapes[{{device}}-(3, 2, 64, 9, 0)-float16-None]",),
    ),
    Fault(
        name="qk-norm-launcher-drops-epsilon",
        file="engine/ops/qk_norm.py",
        old="np.float32(eps)",
        new="np.float32(0)",
        checks=(f"{_KERNELS}qk_norm.py::test_shapes[{{device}}-(1, 16, 128)-None]",),
    ),
    Fault(
        name="quantize-launcher-swaps-scales-and-sums",
        file="engine/ops/quantize.py",
        old="args = (out.codes, out.scales, out.sums, x, *sizes)",
        new="args = (out.codes, out.sums, out.scales, x, *sizes)",
        checks=(f"{_KERNELS}quantize.py::test_shapes[{{device}}-17-160-None]",),
    ),
    Fault(
        name="rms-norm-launcher-has-an-epsilon-of-its-own",
        file="engine/ops/rms_norm.py",
        old="np.float32(eps)",
        new="np.float32(1e-5)",
        checks=(f"{_KERNELS}rms_norm.py::test_shapes[{{device}}-3-256-None]",),
    ),
    Fault(
        name="rope-launcher-swaps-cosine-and-sine",
        file="engine/ops/rope.py",
        old="args = (x, cos, sin, position, *sizes)",
        new="args = (x, sin, cos, position, *sizes)",
        checks=(f"{_KERNELS}rope.py::test_values[{{device}}-normal]",),
    ),
    Fault(
        name="swiglu-launcher-swaps-gate-and-up",
        file="engine/ops/swiglu.py",
        old="args=(out, gate, up, np.int64(count))",
        new="args=(out, up, gate, np.int64(count))",
        checks=(f"{_KERNELS}swiglu.py::test_shapes[{{device}}-3-5-None]",),
    ),
    Fault(
        name="matmul-forgets-which-path-was-asked-for",
        file="engine/ops/matmul.py",
        old="launch(stream, x, weight, path=path, out=out)",
        new='launch(stream, x, weight, path="auto", out=out)',
        checks=(f"{_PATH}-gemm-1-gemm-Q4_K]",),
        origin="10",
    ),
    Fault(
        name="auto-takes-the-matvec-for-every-batch",
        file="engine/ops/_matmul.py",
        old='path = "matvec" if rows <= most else batch_path(weight, rows)',
        new='path = "matvec"',
        checks=(f"{_PATH}-auto-70-gemm-Q4_K]",),
        origin="10",
    ),
    _path_lost("F32", "matvec", "gemm", 1),
    _path_lost("F16", "matvec", "gemm", 1),
    _path_lost("BF16", "gemm", "matvec", 70),
    _path_lost("Q8_0", "matvec", "gemm", 1),
    _path_lost("Q4_0", "gemm", "matvec", 70),
    _path_lost("Q4_K", "matvec", "gemm", 1),
    _path_lost("Q6_K", "gemm", "matvec", 70),
    Fault(
        name="q5-0-launcher-starts-the-kernel-of-q4-0",
        file="engine/ops/matmul_q5_0.py",
        old='"matmul_q5_0", "Q5_0"',
        new='"matmul_q4_0", "Q5_0"',
        checks=(f"{_KERNELS}matmul_q5_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
        origin="11",
    ),
    Fault(
        name="q5-k-launcher-starts-the-kernel-of-q4-k",
        file="engine/ops/matmul_q5_k.py",
        old='"matmul_q5_k", "Q5_K"',
        new='"matmul_q4_k", "Q5_K"',
        checks=(f"{_KERNELS}matmul_q5_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
        origin="11",
    ),
    Fault(
        name="tape-launcher-leaves-out-the-last-value",
        file="engine/ops/tape.py",
        old="(rows, 1, width, width, 0, 0)",
        new="(rows, 1, max(1, width - 1), width, 0, 0)",
        checks=(f"{_KERNELS}tape.py::test_one_bit_and_two_swapped_elements_show[{{device}}]",),
    ),
)
