"""Faults in the kernels that read weights, and in how weights are repacked for them."""

from __future__ import annotations

from suites.selftest.planting import Fault

_KERNELS = "suites/kernels/test_"
# What follows the step of Q8_0, Q4_0 and Q5_0, and that of Q6_K.
_VALUE = "\n  }\n  static __device__ __forceinline__ float value(const Scale& scale, int code, int"
_SCALED, _Q6_K = f"{_VALUE}) {{", f"{_VALUE} half) {{"


def _output_lost(type_name: str, path: str) -> Fault:
    """The last output of a product is not computed."""
    name, sums = type_name.upper(), "sums" if type_name in ("q4_k", "q5_k") else "nullptr"
    x = f"Activations{{codes, scales, {sums}, rows, cols}}"
    both = f"<{name}, {name}>"
    skeleton = {"matvec": f" products{both}", "few": f"few_products{both}", "gemm": f"gemm_products<{name}>"}[path]
    old = f"{skeleton}(shared, {x}, Product{{y, weight, nullptr, outputs"
    return Fault(
        name=f"{type_name.replace('_', '-')}-{path}-loses-an-output",
        file=f"engine/kernels/matmul_{type_name}.cu",
        old=old,
        new=old.replace("outputs", "outputs - 1"),
        checks=(f"{_KERNELS}matmul_{type_name}.py::test_forced_grids[{{device}}]",),
    )


MATMUL_FAULTS: tuple[Fault, ...] = (
    # ---- matvec, few and gemm of quantised weights ----
    Fault(
        name="matvec-folds-chunks-from-the-right",
        file="engine/kernels/matvec.cuh",
        old="__fadd_rn(totals[p], sum[p][chunk * sums.CHUNK_PITCH]);",
        new="__fadd_rn(totals[p], sum[p][(chunks - 1 - chunk) * sums.CHUNK_PITCH]);",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_a_row_of_a_batch_is_the_row_alone[{{device}}]",),
        origin="24",
    ),
    Fault(
        name="matvec-takes-the-offset-of-the-upper-codes-once-less",
        file="engine/kernels/matvec.cuh",
        old="high_sum = __dp4a((int)(0x01010101u * (256 - Op::OFFSET)),",
        new="high_sum = __dp4a((int)(0x00010101u * (256 - Op::OFFSET)),",
        checks=(f"{_KERNELS}matmul_q6_k.py::test_a_row_of_a_batch_is_the_row_alone[{{device}}]",),
    ),
    Fault(
        name="matvec-without-a-barrier",
        file="engine/kernels/matvec.cuh",
        old="      __syncthreads();\n      if (warp == folder) work.fold(",
        new="      if (warp == folder) work.fold(",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_shapes[{{device}}-(34, 1024, 3)]",),
        origin="30",
        host_only=True,
    ),
    Fault(
        name="few-without-a-barrier",
        file="engine/kernels/few.cuh",
        old="      __syncthreads();  // what was asked for is there, and the round before is over\n",
        new="",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_bands[{{device}}]",),
        origin="30",
        host_only=True,
    ),
    Fault(
        name="few-takes-the-scale-of-the-neighbour-row",
        file="engine/kernels/few_chunks.cuh",
        old="low[i], high[i]), x_scales[i % 2][b]",
        new="low[i], high[i]), x_scales[i / 2][b]",
        checks=(f"{_KERNELS}matmul_q4_0.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-takes-the-scale-of-the-other-output",
        file="engine/kernels/few_chunks.cuh",
        old="const typename Op::Scale& scale = scales[i / 2].of[b];",
        new="const typename Op::Scale& scale = scales[i % 2].of[b];",
        checks=(f"{_KERNELS}matmul_q5_0.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-drops-the-chunk-before-a-short-end",
        file="engine/kernels/few_chunks.cuh",
        old="if (last) put_chunk<Op, 1>",
        new="if (last && chunk + 2 < ends) put_chunk<Op, 1>",
        checks=(f"{_KERNELS}matmul_q6_k.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-narrow-rows-take-part-in-both-chunks",
        file="engine/kernels/few_stage.cuh",
        old="const bool mine = !narrow || i == named / NARROW_ROWS;",
        new="const bool mine = !narrow || i >= named / NARROW_ROWS;",
        checks=(f"{_KERNELS}matmul_q5_0.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-narrow-rows-fold-the-scales-of-the-first-chunk",
        file="engine/kernels/few_chunks.cuh",
        old="terms(scales + lane.part * STRIP_ROWS, stage",
        new="terms(scales, stage",
        checks=(f"{_KERNELS}matmul_q5_k.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-keeps-the-activations-of-the-band-before",
        file="engine/kernels/few.cuh",
        old="whole(span >= count && x.rows <= FEW_ROWS),",
        new="whole(span >= count),",
        checks=(f"{_KERNELS}matmul_q5_k.py::test_forced_grids[{{device}}]",),
    ),
    Fault(
        name="few-takes-the-offset-of-the-upper-codes-once-less",
        file="engine/kernels/few_chunks.cuh",
        old="offsets[4] = {MINUS, MINUS, MINUS, MINUS};",
        new="offsets[4] = {MINUS, MINUS, MINUS & 0xffffff, MINUS};",
        checks=(f"{_KERNELS}matmul_q6_k.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="few-uses-scales-while-they-are-taken-apart",
        file="engine/kernels/few_chunks.cuh",
        old="  put_scales<Op>(scales, slot, last);\n  __syncwarp();\n",
        new="  put_scales<Op>(scales, slot, last);\n",
        checks=(f"{_KERNELS}matmul_dispatch.py::test_a_few_rows_where_a_block_is_large[Q4_K]",),
        host_only=True,
    ),
    Fault(
        name="few-folds-by-warps-that-have-no-row",
        file="engine/kernels/few.cuh",
        old="if (warp >= min(FEW_ROWS, x.rows - row)) return;",
        new="if (row + warp >= x.rows) return;",
        checks=(f"{_KERNELS}matmul_dispatch.py::test_a_few_rows_where_a_block_is_large[Q8_0]",),
        host_only=True,
    ),
    Fault(
        name="few-turns-without-a-wait",
        file="engine/kernels/few.cuh",
        old="        ring.copies.template wait_all_but<FEW_DEPTH - 1>();\n",
        new="",
        checks=(f"{_KERNELS}matmul_dispatch.py::test_a_few_rows_where_a_block_is_large[Q4_K]",),
        host_only=True,
    ),
    Fault(
        name="few-brings-one-piece-of-a-warp-less",
        file="engine/kernels/few_stage.cuh",
        old="i < count; i += step)",
        new="i < count; i += step + 1)",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_bands[{{device}}]",),
    ),
    Fault(
        name="gemm-drops-an-odd-chunk",
        file="engine/kernels/gemm.cuh",
        old="const int chunks = x.cols / CHUNK, live",
        new="const int chunks = x.cols / CHUNK / 2 * 2, live",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
    ),
    Fault(
        name="gemm-takes-blocks-of-activations-crosswise",
        file="engine/kernels/gemm.cuh",
        old="const unsigned x[2] = {words[8 * b + t], words[8 * b + 4 + t]};",
        new="const unsigned x[2] = {words[8 * (b ^ 1) + t], words[8 * (b ^ 1) + 4 + t]};",
        checks=(f"{_KERNELS}matmul_q4_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
    ),
    Fault(
        name="gemm-takes-the-scale-of-another-row",
        file="engine/kernels/gemm.cuh",
        old="Op::step(a[m][i], scale[b][m][i / 2], dot[i]",
        new="Op::step(a[m][i], scale[b][m][i % 2], dot[i]",
        checks=(f"{_KERNELS}matmul_q4_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
    ),
    Fault(
        name="gemm-takes-the-sum-of-the-neighbour-row",
        file="engine/kernels/gemm.cuh",
        old="stage.x_terms[GEMM_ROWS + 8 * n + 2 * t + i]",
        new="stage.x_terms[GEMM_ROWS + 8 * n + 2 * t + 1 - i]",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
    ),
    Fault(
        name="gemm-unpacks-the-scales-of-the-chunk-after-the-next",
        file="engine/kernels/gemm.cuh",
        old="cargo.store_scales(next), cargo.load_scales(two);",
        new="cargo.load_scales(two), cargo.store_scales(next);",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_shapes[{{device}}-(34, 704, 3)]",),
    ),
    Fault(
        name="q8-0-product-is-not-fused",
        file="engine/kernels/weights.cuh",
        old=f"return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);{_SCALED}",
        new=f"return __fadd_rn(__fmul_rn(__fmul_rn(scale.d, x_scale), dot), a);{_SCALED}",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
        origin="24",
    ),
    Fault(
        name="q4-0-scale-of-the-activation-comes-late",
        file="engine/kernels/weights.cuh",
        old=f"return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);{_SCALED}",
        new=f"return __fmaf_rn(__fmul_rn(scale.d, dot), x_scale, a);{_SCALED}",
        checks=(f"{_KERNELS}matmul_q4_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
    ),
    Fault(
        name="q5-0-scale-of-the-weight-comes-late",
        file="engine/kernels/weights.cuh",
        old=f"return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);{_SCALED}",
        new=f"return __fmaf_rn(scale.d, __fmul_rn(x_scale, dot), a);{_SCALED}",
        checks=(f"{_KERNELS}matmul_q5_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
    ),
    Fault(
        name="q4-k-minimum-before-the-product",
        file="engine/kernels/weights.cuh",
        old="    a = __fmaf_rn(__fmul_rn(scale.scale, x_scale), dot, a);\n"
        "    return __fmaf_rn(-scale.minimum, x_sum, a);",
        new="    a = __fmaf_rn(-scale.minimum, x_sum, a);\n"
        "    return __fmaf_rn(__fmul_rn(scale.scale, x_scale), dot, a);",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
        origin="24",
    ),
    Fault(
        name="q5-k-minimum-is-added",
        file="engine/kernels/weights.cuh",
        old="return __fmaf_rn(-scale.minimum, x_sum, a);",
        new="return __fmaf_rn(scale.minimum, x_sum, a);",
        checks=(f"{_KERNELS}matmul_q5_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
    ),
    Fault(
        name="q6-k-product-is-not-fused",
        file="engine/kernels/weights.cuh",
        old=f"return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);{_Q6_K}",
        new=f"return __fadd_rn(__fmul_rn(__fmul_rn(scale.d, x_scale), dot), a);{_Q6_K}",
        checks=(f"{_KERNELS}matmul_q6_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
        origin="24",
    ),
    _output_lost("q8_0", "matvec"),
    _output_lost("q4_0", "gemm"),
    _output_lost("q5_0", "matvec"),
    _output_lost("q4_k", "gemm"),
    _output_lost("q5_k", "matvec"),
    _output_lost("q6_k", "gemm"),
    _output_lost("q4_k", "few"),
    _output_lost("q6_k", "few"),
    # ---- float weights ----
    Fault(
        name="float-matvec-drops-the-short-chunk",
        file="engine/kernels/matmul_float.cuh",
        old="const int chunks = (cols + CHUNK - 1) / CHUNK, items",
        new="const int chunks = cols / CHUNK, items",
        checks=(f"{_KERNELS}matmul_f32.py::test_shapes[{{device}}-(34, 129, 3)]",),
    ),
    Fault(
        name="float-gemm-drops-the-short-step",
        file="engine/kernels/matmul_float.cuh",
        old="steps = (cols + STEP - 1) / STEP;",
        new="steps = cols / STEP;",
        checks=(f"{_KERNELS}matmul_f16.py::test_shapes[{{device}}-(34, 500, 3)]",),
    ),
    Fault(
        name="float-gemm-keeps-one-chain-over-all-chunks",
        file="engine/kernels/matmul_float.cuh",
        old="if (step % (CHUNK / STEP) == CHUNK / STEP - 1 || step == steps - 1) {",
        new="if (step == steps - 1) {",
        checks=(f"{_KERNELS}matmul_bf16.py::test_shapes[{{device}}-(34, 500, 3)]",),
        origin="24",
    ),
    Fault(
        name="f32-gemm-leaves-an-odd-row-out",
        file="engine/kernels/matmul_f32.cu",
        old="float_gemm<F32>(stage, y, x, weight, rows, outputs, cols);",
        new="float_gemm<F32>(stage, y, x, weight, rows / 2 * 2, outputs, cols);",
        checks=(f"{_KERNELS}matmul_f32.py::test_shapes[{{device}}-(34, 5, 3)]",),
        origin="16",
    ),
    Fault(
        name="f16-gemm-reads-bf16",
        file="engine/kernels/matmul_f16.cu",
        old="float_gemm<F16>(",
        new="float_gemm<BF16>(",
        checks=(f"{_KERNELS}matmul_f16.py::test_shapes[{{device}}-(34, 5, 3)]",),
        origin="11",
    ),
    Fault(
        name="bf16-matvec-reads-f16",
        file="engine/kernels/matmul_bf16.cu",
        old="float_matvec<BF16>(",
        new="float_matvec<F16>(",
        checks=(f"{_KERNELS}matmul_bf16.py::test_shapes[{{device}}-(34, 5, 3)]",),
        origin="11",
    ),
    Fault(
        name="bf16-loses-its-last-bit",
        file="engine/kernels/portable.cuh",
        old="return __uint_as_float((unsigned)bf16 << 16);",
        new="return __uint_as_float(((unsigned)bf16 & 0xfffeu) << 16);",
        checks=(f"{_KERNELS}matmul_bf16.py::test_shapes[{{device}}-(34, 5, 3)]",),
    ),
    # ---- codes and scales out of a tile ----
    Fault(
        name="fifth-bit-of-the-next-block",
        file="engine/kernels/weights.cuh",
        old="low |= (word << (4 - block)) & 0x10101010u;",
        new="low |= (word << (4 - (block ^ 1))) & 0x10101010u;",
        checks=(f"{_KERNELS}matmul_q5_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
    ),
    Fault(
        name="scale-of-another-block",
        file="engine/kernels/weights.cuh",
        old="i = block % CHUNK_BLOCKS;",
        new="i = block % CHUNK_BLOCKS ^ 1;",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_shapes[{{device}}-(34, 256, 3)]",),
    ),
    Fault(
        name="embedding-of-the-neighbour-token",
        file="engine/kernels/embedding.cu",
        old="const TileWords<Tile> words{tile, block / CHUNK_BLOCKS, token % TILE_ROWS};",
        new="const TileWords<Tile> words{tile, block / CHUNK_BLOCKS, (token ^ 1) % TILE_ROWS};",
        checks=(f"{_KERNELS}embedding.py::test_rows[{{device}}-None-Q8_0-96]",),
    ),
    # ---- repacking ----
    Fault(
        name="repack-puts-two-nibble-planes-in-each-others-place",
        file="engine/kernels/repack.cu",
        old="at + piece / 4 * 64 + piece % 2 * 32, piece / 2 % 2 == 1, t)",
        new="at + piece / 4 * 64 + piece / 2 % 2 * 32, piece % 2 == 1, t)",
        checks=(f"{_KERNELS}repack.py::test_shapes[{{device}}-Q6_K-1-256]",),
    ),
    Fault(
        name="repack-shifts-the-upper-fifth-bits-wrongly",
        file="engine/kernels/repack.cu",
        old="spread(bits >> 16) << (CHUNK_BLOCKS + block)",
        new="spread(bits >> 16) << (2 * CHUNK_BLOCKS - 1 - block)",
        checks=(f"{_KERNELS}repack.py::test_shapes[{{device}}-Q5_0-1-32]",),
    ),
    Fault(
        name="repack-leaves-pads-that-are-not-zero",
        file="engine/kernels/repack.cu",
        old="*reinterpret_cast<const unsigned short*>(bytes + at) : 0u;",
        new="*reinterpret_cast<const unsigned short*>(bytes + at) : 0xffffu;",
        checks=(f"{_KERNELS}matmul_q8_0.py::test_shapes[{{device}}-(34, 96, 3)]",),
        origin="25",
    ),
    Fault(
        name="a-chunk-of-a-weight-lands-on-the-first",
        file="engine/weights/load.py",
        old="yield Chunk(weight=weight, group=group, stored=stored)",
        new="yield Chunk(weight=weight, group=0, stored=stored)",
        checks=(f"{_KERNELS}repack.py::test_many_chunks_of_many_matrices[{{device}}]",),
    ),
    Fault(
        name="gemm-loads-a-chunk-again",
        file="engine/kernels/gemm.cuh",
        old="step = Op::piece(1, i) - first;",
        new="step = 0;",
        checks=(f"{_KERNELS}matmul_q4_k.py::test_shapes[{{device}}-(34, 1024, 3)]",),
    ),
)
