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
        name="step-takes-the-first-head-of-a-group-for-all",
        file="engine/kernels/attention_step.cu",
        old="kv_head * n.group + tile * room, min(",
        new="kv_head * n.group, min(",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-turns-the-first-half-forwards",
        file="engine/kernels/step_heads.cuh",
        old="first ? -other : other",
        new="other",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-keeps-the-new-key-to-itself",
        file="engine/kernels/step_split.cuh",
        old="if (is_key && appends)",
        new="if (is_key && item.head < 0)",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-forgets-the-new-value",
        file="engine/kernels/step_split.cuh",
        old="if (i < item.room) out.o[i] = __fmaf_rn(",
        new="if (i < item.room && t < 0) out.o[i] = __fmaf_rn(",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-swaps-the-pieces-of-a-key",
        file="engine/kernels/step_split.cuh",
        old="is_new ? 0 : key_place(t, 0)",
        new="key_place(t, 0)",
        checks=(f"{_KERNELS}attention_step.py::test_shapes[{{device}}-18/3x128-at-254-float32]",),
    ),
    Fault(
        name="step-combines-from-the-second-batch-on",
        file="engine/kernels/step_combine.cuh",
        old="carried = __shfl_sync(WHOLE_WARP, top, count - 1);",
        new="carried = __shfl_sync(WHOLE_WARP, top, 0);",
        checks=(f"{_KERNELS}attention_step.py::test_many_splits[{{device}}]",),
    ),
    Fault(
        name="step-leaves-the-pads",
        file="engine/kernels/step_combine.cuh",
        old="to.codes[col] = 0;",
        new="to.codes[col] = 1;",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-launcher-swaps-the-weights",
        file="engine/ops/attention_step.py",
        old="new.q_weight, new.k_weight, cos",
        new="new.k_weight, new.q_weight, cos",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="step-launcher-swaps-scales-and-sums",
        file="engine/ops/attention_step.py",
        old="return None, out.codes, out.scales, out.sums",
        new="return None, out.codes, out.sums, out.scales",
        checks=(f"{_KERNELS}attention_step.py::test_part_of_a_head_turns[{{device}}]",),
    ),
    Fault(
        name="group-adds-row-0-to-all",
        file="engine/kernels/products.cuh",
        old="p.added[(long long)row * p.stride + output(item)]",
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
        name="matvec-spans-leave-some-warps-a-step-less",
        file="engine/ops/_matvec.py",
        old="// per_step // WARPS * WARPS",
        new="// per_step // WARPS * WARPS + 1",
        checks=(f"{_KERNELS}matmul_group.py::test_widths[{{device}}-types2-27648-1-None]",),
    ),
    Fault(
        name="gate-and-up-change-places",
        file="engine/kernels/matmul_swiglu.cu",
        old="return {s < 2 ? gate : up, item / bands, s % 2};",
        new="return {s < 2 ? up : gate, item / bands, s % 2};",
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
        name="few-spans-leave-some-warps-a-step-less",
        file="engine/ops/_few.py",
        old="// per_step // apart * apart",
        new="// per_step // apart * apart - 1",
        checks=(f"{_KERNELS}matmul_group.py::test_widths[{{device}}-types3-9216-6-None]",),
    ),
    Fault(
        name="few-pads-of-all-rows-go-to-the-first",
        file="engine/kernels/matmul_swiglu.cu",
        old="work.put(pad % rows, work.ff",
        new="work.put(0, work.ff",
        checks=(f"{_KERNELS}matmul_swiglu.py::test_a_few_rows[{{device}}-Q4_K-5]",),
    ),
    Fault(
        name="a-pass-of-a-few-rows-forgets-the-residual",
        file="engine/families/qwen3_fused.py",
        old="Product(weight=layer.attn_output, out=x, added=x)",
        new="Product(weight=layer.attn_output, out=x, added=x if rows == 1 else None)",
        checks=("suites/families/test_fused.py::test_a_few_rows[{device}-Q8_0-5]",),
    ),
    Fault(
        name="a-short-prefill-takes-the-logits-of-its-first-row",
        file="engine/families/qwen3_fused.py",
        old="b.x.rows(first, first + rows), w.output_norm",
        new="b.x.rows(0, rows), w.output_norm",
        checks=("suites/prefill/test_batched.py::test_only_the_last_row_is_asked_for[{device}-7]",),
    ),
    Fault(
        name="fused-steps-forget-the-residual",
        file="engine/families/qwen3_fused.py",
        old="Product(weight=layer.ffn_down, out=x, added=x)",
        new="Product(weight=layer.ffn_down, out=x)",
        checks=("suites/families/test_fused.py::test_types[{device}-Q8_0-f16]",),
    ),
)
