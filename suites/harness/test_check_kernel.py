"""`zeroulp check-kernel` on right kernels and on wrong ones of every kind, each seen by the case that should see it."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.devices.cuda.nvrtc import bindings, compile_source, read_sources
from engine.devices.host.device import KERNELS
from harness.adapters.user_kernel.ops import OPS
from harness.cli.main import zeroulp
from harness.expressions import whole_number
from reference.spec.errors import NoDevice
from suites.status import not_applicable

RIGHT = Path(__file__).parents[2] / "examples" / "rms_norm.cu"
PLAIN = Path(__file__).with_name("plain.cu")
ROW_LOOP = "for (int row = blockIdx.x; row < rows; row += gridDim.x) {"
VALUE = "i < dim ? in[i] : 0.0f"
LAST_BARRIER = "    __syncthreads();  // chains is written again for the next row\n"


@pytest.fixture(autouse=True)
def _checkout() -> None:
    if not RIGHT.exists():
        not_applicable("the examples are a part of the checkout, not of the package")


@dataclass(frozen=True, kw_only=True)
class Answer:
    code: int
    results: list[dict[str, Any]]
    refused: str

    def of(self, outcome: str) -> set[str]:
        """Names of the cases that ended so."""
        return {result["case"] for result in self.results if result["outcome"] == outcome}


@pytest.fixture
def check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Checks examples/rms_norm.cu with texts of it replaced, under --json."""

    def run(*options: str, replace: dict[str, str] | None = None) -> Answer:
        text = RIGHT.read_text()
        for old, new in (replace or {}).items():
            assert old in text
            text = text.replace(old, new)
        source = tmp_path / "mine.cu"
        source.write_text(text)
        code = zeroulp(["check-kernel", str(source), "--op", "rms_norm", "--entry", "my_rms_norm", *options, "--json"])
        found = json.loads(capfd.readouterr().out)
        return Answer(code=code, results=found["results"], refused=found["refused"])

    return run


def test_a_right_kernel_passes_on_every_grid(check: Any) -> None:
    answer = check("--grids", "1,3,500")
    assert (answer.code, answer.of("passed"), len(answer.results)) == (0, {r["case"] for r in answer.results}, 80)
    assert all(result["values"] and not result["differing"] for result in answer.results)


def test_a_right_kernel_passes_under_the_checker(check: Any) -> None:
    answer = check("--check", "--grids", "2", "--case", "rows=3 dim=255")
    assert (answer.code, len(answer.results)) == (0, 2)


@pytest.mark.parametrize("op", ["rms_norm", "qk_norm"])
def test_our_own_kernels_pass(op: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["check-kernel", str(KERNELS / f"{op}.cu"), "--op", op, "--grids", "2"]) == 0
    assert "\nPASS: " in capfd.readouterr().out


@pytest.mark.parametrize(
    "op", ["argmax", "rope", "quantize", "matmul_f32", "matmul_q8_0", "embedding_bf16", "embedding_q8_0"]
)
def test_a_plain_kernel_of_every_kind_of_op_passes_by_bits(op: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["check-kernel", str(PLAIN), "--op", op, "--grids", "2"]) == 0
    assert "\nPASS: " in capfd.readouterr().out


@pytest.mark.parametrize("op", ["attention", "attention_f16"])
def test_a_kernel_of_another_order_stands_against_the_ideal_form(op: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["check-kernel", str(PLAIN), "--op", op]
    assert zeroulp([*command, "--against", "ideal", "--nmse", "1e-11"]) == 0
    assert "\nPASS: 13 cases" in capfd.readouterr().out
    assert zeroulp(command) == 1  # by bits against the exact form


def test_plain_kernels_compile_for_a_gpu_too(tmp_path: Path) -> None:
    try:
        bindings()
    except NoDevice as error:
        pytest.skip(str(error))
    shutil.copyfile(PLAIN, tmp_path / "user_plain.cu")
    shutil.copyfile(RIGHT, tmp_path / "user_rms_norm.cu")
    sources = read_sources((KERNELS, tmp_path))
    for name in ("user_plain", "user_rms_norm"):
        assert compile_source(sources[name], architecture="sm_90").cubin


def test_arguments_of_another_kind_and_order(capfd: pytest.CaptureFixture[str]) -> None:
    swiglu = ["check-kernel", str(KERNELS / "swiglu.cu"), "--op", "swiglu"]
    assert zeroulp([*swiglu, "--args", "out,gate,up,int64:rows*ff"]) == 0
    capfd.readouterr()
    assert zeroulp([*swiglu, "--args", "out,gate,up,rows*ff"]) == 2
    assert "argument 3 is int64, int32 given (given: 0 out, 1 gate, 2 up, 3 rows*ff" in capfd.readouterr().err
    assert zeroulp([*swiglu, "--args", "out,up,gate,int64:rows*ff"]) == 1
    add = ["check-kernel", str(KERNELS / "add.cu"), "--op", "add", "--args", "out,x,y,rows,dim,dim"]
    assert zeroulp(add) == 0


def test_another_order_of_the_sum_differs_by_bits_and_stands_within_ulps(check: Any) -> None:
    folded = "float sum = chains[31];\n    for (int l = 30; l >= 0; l--) sum = __fadd_rn(sum, chains[l]);"
    other = {"const float sum = butterfly_sum(chains[lane]);": folded}
    answer = check(replace=other)
    assert answer.code == 1
    assert "rows=3 dim=5" not in answer.of("differs")  # one block: nothing to add in another order
    assert answer.of("differs")
    assert all(result["worst_ulp"] in range(5) for result in answer.results)
    assert check("--ulps", "4", replace=other).code == 0
    assert check("--against", "ideal", "--nmse", "1e-9", replace=other).code == 0


def test_a_reciprocal_that_is_multiplied_is_seen_by_bits(check: Any) -> None:
    """What -use_fast_math does to a quotient."""
    fast = "__fmul_rn(sum, __fdiv_rn(1.0f, __int2float_rn(dim)))"
    answer = check(replace={"__fdiv_rn(sum, __int2float_rn(dim))": fast})
    assert answer.code == 1
    assert answer.of("differs").isdisjoint({"rows=1 dim=1", "rows=1 dim=32", "rows=3 dim=256"})  # 1 / 2^n is exact


def test_the_first_failure_names_the_command_that_runs_it_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "one grid.cu"
    source.write_text(RIGHT.read_text().replace(ROW_LOOP, "{ const int row = blockIdx.x;"))
    command = ["check-kernel", str(source), "--op", "rms_norm", "--entry", "my_rms_norm", "--grids", "1"]
    assert zeroulp(command) == 1
    line = capfd.readouterr().out.splitlines()[-1]
    words = shlex.split(line.partition(": ")[2])
    assert words[0] == "zeroulp"
    assert zeroulp(words[1:]) == 1
    assert "FAIL: 1 cases: differs 1" in capfd.readouterr().out


def test_the_last_element_left_out_is_seen(check: Any) -> None:
    answer = check("--ulps", "100", replace={VALUE: "i < dim - 1 ? in[i] : 0.0f"})
    assert answer.code == 1
    assert "rows=3 dim=257" not in answer.of("passed")
    assert {"rows=1 dim=1", "rows=3 dim=5", "rows=3 dim=256"} <= answer.of("differs")


def test_a_tail_that_is_not_a_multiple_of_four_is_seen_by_its_shapes(check: Any) -> None:
    answer = check(replace={"i < dim; i += 256)\n": "i < dim / 4 * 4; i += 256)\n"})
    assert {"rows=1 dim=1", "rows=3 dim=5", "rows=2 dim=31", "rows=3 dim=255", "rows=2 dim=1023"} <= answer.of(
        "differs"
    )
    assert {"rows=1 dim=32", "rows=3 dim=256", "rows=5 dim=704"} <= answer.of("passed")
    (odd,) = [result for result in answer.results if result["case"] == "rows=3 dim=5"]
    assert odd["reason"].startswith("out[0, 4]: nan for ")  # the poison shows


def test_a_swallowed_nan_is_seen_by_the_case_of_a_nan(check: Any) -> None:
    swallowed = "i < dim && in[i] == in[i] ? in[i] : 0.0f"
    answer = check("--ulps", "1000000", "--nmse", "1", replace={VALUE: swallowed})
    assert answer.of("differs") == {"rows=5 dim=704 one NaN"}


def test_a_nan_that_is_not_written_is_seen_though_the_poison_is_one(check: Any) -> None:
    written = "out[(long long)row * dim + i] = __fmul_rn(__fmul_rn(in[i], weight[i]), scale);"
    skipped = f"if (in[i] == in[i] && scale == scale) {written}"
    assert check(replace={written: skipped}).of("differs") == {"rows=5 dim=704 one NaN"}


def test_a_minus_one_that_is_not_written_is_seen_though_the_poison_is_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    written = "codes[b * BLOCK + i] = (signed char)code;"
    source = tmp_path / "mine.cu"
    source.write_text(PLAIN.read_text().replace(written, f"if (code != -1) {written}"))
    assert zeroulp(["check-kernel", str(source), "--op", "quantize"]) == 1
    assert "for -1" in capfd.readouterr().out


def test_a_write_past_the_end_is_seen(check: Any) -> None:
    answer = check(replace={"i < dim; i += 256)\n": "i <= dim; i += 256)\n"})
    assert answer.code == 1
    assert "rows=1 dim=1" in answer.of("out of bounds")
    (one,) = [result for result in answer.results if result["case"] == "rows=1 dim=1"]
    assert one["reason"] == "wrote 4 bytes behind the end of out"


def test_a_write_in_front_and_one_far_away_are_seen(check: Any) -> None:
    near = check(
        "--case", "rows=3 dim=5", replace={"out[(long long)row * dim + i] =": "out[(long long)row * dim + i - 1] ="}
    )
    assert [result["reason"] for result in near.results] == ["wrote 4 bytes in front of the start of out"]
    far = check(
        "--case",
        "rows=3 dim=5",
        replace={"out[(long long)row * dim + i] =": "out[(long long)row * dim + i + 50000000000] ="},
    )
    assert far.of("crashed") | far.of("out of bounds") == {"rows=3 dim=5"}


def test_a_write_to_an_input_is_seen(check: Any) -> None:
    answer = check(replace={LAST_BARRIER: "    if (threadIdx.x == 0) ((float*)weight)[0] = 1.0f;\n" + LAST_BARRIER})
    assert answer.of("out of bounds")
    assert {result["reason"] for result in answer.results if result["outcome"] != "passed"} == {
        "wrote to weight, which is an input"
    }


def test_a_kernel_for_one_grid_only_is_seen_by_other_grids(check: Any) -> None:
    one_row = {ROW_LOOP: "{ const int row = blockIdx.x;"}
    assert check(replace=one_row).code == 0
    few = check("--grids", "1", "--case", "rows=17 dim=33", replace=one_row)
    assert [result["outcome"] for result in few.results] == ["passed", "differs"]
    assert few.results[1]["reason"].startswith("out[1, 0]: nan for ")
    many = check("--grids", "500", "--case", "rows=17 dim=33", replace=one_row)
    assert [result["outcome"] for result in many.results] == ["passed", "crashed"]
    assert "access to outside all buffers" in many.results[1]["reason"]
    assert check("--grids", "18", "--case", "rows=17 dim=33", replace=one_row).of("out of bounds")


def test_a_race_and_a_read_past_the_end_are_named_by_the_checker(check: Any) -> None:
    race = check("--check", "--grids", "1", "--case", "rows=17 dim=33", replace={LAST_BARRIER: ""})
    assert race.of("checker") == {"rows=17 dim=33"}
    assert "race: " in race.results[1]["reason"]
    assert "__shared__ chains" in race.results[1]["reason"]
    read = check("--check", "--case", "rows=1 dim=1", replace={VALUE: "i <= dim ? in[i] : 0.0f"})
    assert read.of("checker") == {"rows=1 dim=1"}
    assert "access out of bounds, 4 bytes at " in read.results[0]["reason"]
    assert "'x'" in read.results[0]["reason"]


def test_a_kernel_that_does_not_end_is_stopped(check: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    endless = RIGHT.read_text().replace(ROW_LOOP, f"volatile int go = 1; while (go) {{}}\n  {ROW_LOOP}")
    source = tmp_path / "endless.cu"
    source.write_text(endless)
    command = ["check-kernel", str(source), "--op", "rms_norm", "--entry", "my_rms_norm", "--timeout", "5"]
    assert zeroulp(command) == 2
    assert capfd.readouterr().err == "zeroulp: endless.cu: no answer after 5 s, in case rows=1 dim=1\n"


def test_a_compile_error_is_one_block_with_the_compilers_words(check: Any) -> None:
    answer = check(replace={"float chain = 0.0f;": "floot chain = 0.0f;"})
    assert (answer.code, answer.results) == (2, [])
    assert answer.refused.startswith("mine.cu does not compile: ")
    assert "floot" in answer.refused
    assert "mine.cu:11:" in answer.refused


def test_a_compile_error_is_shown_in_the_users_own_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "rms_norm.cu"  # a name that one of our own files has
    source.write_text(RIGHT.read_text().replace("float chain = 0.0f;", "floot chain = 0.0f;"))
    assert zeroulp(["check-kernel", str(source), "--op", "rms_norm", "--entry", "my_rms_norm"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "zeroulp: rms_norm.cu does not compile:"
    assert all(line.startswith(f"  {source}:") for line in lines[1:])
    assert "floot" in lines[1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--entry", "nothing"], "mine.cu: nothing: no such kernel; mine.cu has my_rms_norm (--entry names another)"),
        (["--args", "out,x"], "2 arguments given, the kernel has 6 (given: 0 out, 1 x; --args chooses others)"),
        (["--args", "out,x,weight,rows,dims,eps"], "--args 'dims': no size 'dims', expected rows, dim"),
        (["--grid", "rows / 0"], "--grid 'rows / 0': expected whole numbers"),
        (["--grid", "rows // 0"], "divides by zero"),
        (["--block", "33"], "block 33, expected a multiple of 32"),
        (["--case", "none"], "--case 'none': rms_norm has no such case, expected one of: rows=1 dim=1; "),
    ],
)
def test_a_launch_that_does_not_fit_is_one_line(check: Any, options: list[str], text: str) -> None:
    answer = check(*options)
    assert (answer.code, answer.results) == (2, [])
    assert text in answer.refused
    assert ("--args" in answer.refused) == (options[0] == "--args")


def test_a_file_called_like_one_of_ours_keeps_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["check-kernel", str(RIGHT), "--op", "rms_norm"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("zeroulp: rms_norm.cu: rms_norm: no such kernel; rms_norm.cu has my_rms_norm")


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "no_text.cu"
    source.write_bytes(RIGHT.read_bytes() + b"// caf\xe9")
    assert zeroulp(["check-kernel", str(source), "--op", "rms_norm", "--entry", "my_rms_norm"]) == 2
    place = len(RIGHT.read_bytes()) + 6
    assert capfd.readouterr().err == f"zeroulp: {source}: not UTF-8 text (byte {place})\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["no.cu", "--op", "rms_norm"], "no.cu: not found"),
        ([str(RIGHT), "--op", "softmax"], "--op softmax: unknown, expected one of rms_norm, "),
        ([str(RIGHT)], "no --op; "),
        (["--op", "add"], "no file; "),
        ([str(RIGHT), "--op", "argmax", "--against", "ideal"], "argmax has no ideal form"),
        ([str(RIGHT), "--op", "add", "--nmse", "nan"], "--nmse nan: expected a finite number"),
        ([str(RIGHT), "--op", "add", "--grids", "1,x"], "--grids '1,x': expected numbers of blocks"),
        ([str(RIGHT), "--op", "add", "--device", "cuda", "--check"], "--check: is the access checker of the host"),
    ],
)
def test_a_bad_call_is_one_line(words: list[str], text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["check-kernel", *words]) == 2
    said = capfd.readouterr().err
    assert text in said
    assert said.count("\n") == 1


def test_what_is_shown_is_what_a_kernel_needs(capfd: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["check-kernel", "--list"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == list(OPS)
    assert zeroulp(["check-kernel", "--op", "rope", "--show"]) == 0
    assert 'extern "C" __global__ void my_rope(float* out, const float* x, ' in capfd.readouterr().out


@pytest.mark.parametrize("name", OPS)
def test_every_case_has_what_its_op_lists(name: str) -> None:
    op, case = OPS[name], next(OPS[name].cases())
    names = {*case.arrays, *case.outputs, *case.sizes, *case.scalars}
    assert {argument.name for argument in op.arguments} == names
    assert whole_number(op.grid, case.sizes, "grid") > 0


@pytest.mark.parametrize(
    "text", ["__import__('os')", "rows.real", "[1][0]", "rows ** 9", "True", "1.5", "min(rows)", ""]
)
def test_only_sizes_are_expressions(text: str) -> None:
    with pytest.raises(ValueError, match="expected whole numbers"):
        whole_number(text, {"rows": 3}, "--grid")
