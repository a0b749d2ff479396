"""Faults in the kernels that do several operations in one, and in their launchers."""

from __future__ import annotations

from suites.selftest.planting import Fault

_KERNELS = "suites/kernels/test_"

FUSED_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="fused-norm-forgets-the-columns-past-the-first-4096",
        file="engine/kernels/rms_norm_quantize.cu",
        old="if (first) {",
        new="if (first < 0) {",
        checks=(f"{_KERNELS}rms_norm_quantize.py::test_shapes[{{device}}-(2, 4128)-None]",),
    ),
    Fault(
        name="fused-norm-launcher-leaves-the-pads",
        file="engine/ops/rms_norm_quantize.py",
        old='int32(op, "padded", width)',
        new='int32(op, "padded", width if width == dim else width - 32)',
        checks=(f"{_KERNELS}rms_norm_quantize.py::test_shapes[{{device}}-(2, 704)-None]",),
    ),
    Fault(
        name="fused-heads-turn-the-second-half-backwards",
        file="engine/kernels/qk_rope_append.cu",
        old="return __fmaf_rn(x, cos[turn + i - pairs], __fmul_rn(",
        new="return __fmaf_rn(x, cos[turn + i - pairs], -__fmul_rn(",
        checks=(f"{_KERNELS}qk_rope_append.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="fused-heads-launcher-swaps-the-weights",
        file="engine/ops/qk_rope_append.py",
        old="k, v, q_weight, k_weight, cos, sin, position, *counts",
        new="k, v, k_weight, q_weight, cos, sin, position, *counts",
        checks=(f"{_KERNELS}qk_rope_append.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="fused-attention-leaves-the-pads",
        file="engine/kernels/attention_quantize.cu",
        old="col < padded; col += head_dim",
        new="col < cols; col += head_dim",
        checks=(f"{_KERNELS}attention_quantize.py::test_shapes[{{device}}-3x1/1x32-at-9-of-13-float16-None]",),
    ),
    Fault(
        name="fused-attention-launcher-swaps-scales-and-sums",
        file="engine/ops/attention_quantize.py",
        old="out.codes, out.scales, out.sums, *scratch.parts",
        new="out.codes, out.sums, out.scales, *scratch.parts",
        checks=(f"{_KERNELS}attention_quantize.py::test_shapes[{{device}}-3x1/1x32-at-9-of-13-float16-None]",),
    ),
    Fault(
        name="group-adds-row-0-to-all",
        file="engine/kernels/products.cuh",
        old="p.added[(long long)row(item) * p.stride + output(item)]",
        new="p.added[output(item)]",
        checks=(f"{_KERNELS}matmul_group.py::test_widths[{{device}}-types0-704-3-None]",),
    ),
    Fault(
        name="group-takes-the-bias-of-another-product",
        file="engine/kernels/matmul_group.cu",
        old="Product{y_b, weight_b, added_b, outputs_b, stride_b}",
        new="Product{y_b, weight_b, added_a, outputs_b, stride_b}",
        checks=(f"{_KERNELS}matmul_group.py::test_types[{{device}}-Q4_K+Q4_K+Q6_K-bias]",),
    ),
    Fault(
        name="group-launcher-takes-every-residual-for-a-bias",
        file="engine/ops/matmul_group.py",
        old='int32(op, "stride", weight.rows if whole else 0)',
        new='int32(op, "stride", 0)',
        checks=(f"{_KERNELS}matmul_group.py::test_widths[{{device}}-types0-704-3-None]",),
    ),
    Fault(
        name="gate-and-up-change-places",
        file="engine/kernels/matmul_swiglu.cu",
        old="return {s < 2 ? gate : up, item / rows, s % 2};",
        new="return {s < 2 ? up : gate, item / rows, s % 2};",
        checks=(f"{_KERNELS}matmul_swiglu.py::test_types[{{device}}-Q4_K]",),
    ),
    Fault(
        name="gate-and-up-launcher-swaps-the-weights",
        file="engine/ops/matmul_swiglu.py",
        old="gate.buffer, up.buffer, *sizes",
        new="up.buffer, gate.buffer, *sizes",
        checks=(f"{_KERNELS}matmul_swiglu.py::test_types[{{device}}-Q8_0]",),
    ),
    Fault(
        name="fused-steps-forget-the-residual",
        file="engine/families/qwen3_fused.py",
        old="Product(weight=layer.ffn_down, out=x, added=x)",
        new="Product(weight=layer.ffn_down, out=x)",
        checks=("suites/families/test_fused.py::test_types[{device}-Q8_0-f16]",),
    ),
)
