"""The check of compiled kernels finds what it is there for, and the engine's own kernels pass it."""

from __future__ import annotations

import pytest

from engine.devices.cuda.lint import ARCHITECTURES, check_source, check_sources, parse_resources
from engine.devices.cuda.nvrtc import KERNELS, OPTIONS, PORTABLE, Source, bindings, compile_source, read_sources
from engine.devices.cuda.ptx import contraction, fused, lint
from reference.spec.errors import NoDevice


def _ptx(*lines: str, name: str = "k") -> str:
    body = "\n".join(f"\t{line}" for line in lines)
    return f".visible .entry {name}(\n\t.param .u64 {name}_param_0\n)\n{{\n\t.reg .f32 %f<9>;\n{body}\n}}\n"


def _rules(ptx: str, architecture: int = 80) -> list[str]:
    return [finding.rule for finding in lint(ptx, architecture=architecture)]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("ex2.approx.f32 %f1, %f2;", "approximate"),
        ("div.approx.f32 %f1, %f2, %f3;", "approximate"),
        ("div.full.f32 %f1, %f2, %f3;", "approximate"),
        ("rsqrt.approx.f32 %f1, %f2;", "approximate"),
        ("@%p1 sin.approx.f32 %f1, %f2;", "approximate"),
        ("add.rn.ftz.f32 %f1, %f2, %f3;", "flush"),
        ("add.f32 %f1, %f2, %f3;", "contractible"),
        ("mul.f32 %f1, %f2, %f3;", "contractible"),
        ("fma.rz.f32 %f1, %f2, %f3, %f4;", "rounding"),
        ("add.rn.f64 %fd1, %fd2, %fd3;", "double"),
        ("max.f32 %f1, %f2, %f3;", "min-max"),
        ("min.NaN.f32 %f1, %f2, %f3;", "min-max"),
        ("red.global.add.f32 [%rd1], %f1;", "float-atomic"),
        ("atom.global.add.noftz.f16 %rs1, [%rd1], %rs2;", "float-atomic"),
        ("call.uni (retval0), vprintf, (param0, param1);", "call"),
        ("griddepcontrol.wait;", "pdl"),
    ],
)
def test_forbidden_instruction(line: str, rule: str) -> None:
    assert _rules(_ptx(line, "ret;")) == [rule]


def test_allowed_instructions() -> None:
    lines = """fma.rn.f32 %f1, %f2, %f3, %f4;
    add.rn.f32 %f1, %f2, %f3;
    div.rn.f32 %f1, %f2, %f3;
    sqrt.rn.f32 %f1, %f2;
    cvt.rni.s32.f32 %r1, %f1;
    setp.lt.f32 %p1, %f1, %f2;
    max.s32 %r1, %r2, %r3;
    add.s32 %r1, %r2, %r3;
    atom.global.add.u32 %r1, [%rd1], %r2;
    mul.wide.s32 %rd1, %r1, 4;
    ret;"""
    assert _rules(_ptx(*lines.splitlines())) == []


STORE = "st.global.f32 [%rd1], %f1;"
WAIT = "griddepcontrol.wait;"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((STORE, "ret;"), ["never executes"]),
        ((STORE, WAIT, "ret;"), ["can run before"]),
        (("@%p1 bra $L1;", WAIT, "$L1:", "ret;"), ["can end without"]),
        (("@%p1 ret;", WAIT, STORE, "ret;"), ["can end without"]),
        (("@%p1 bra $L1;", WAIT, STORE, "ret;", "$L1:", STORE, "exit;"), ["can run before", "can end without"]),
        (("@%p1 bra $L1;", WAIT, "bra.uni $L2;", "$L1:", WAIT, "$L2:", STORE, "ret;"), []),
        (("$L1:", "ld.global.f32 %f1, [%rd1];", "@%p1 bra $L1;", WAIT, STORE, "ret;"), []),
        (("st.shared.f32 [%r1], %f1;", WAIT, STORE, "ret;"), []),
        (("@%p1 griddepcontrol.wait;", "ret;"), ["can end without"]),
        (("t: .branchtargets $L1, $L2;", "brx.idx %r1, t;", "$L1:", WAIT, "$L2:", "ret;"), ["can end without"]),
        (("t: .branchtargets $L1, $L2;", "brx.idx %r1, t;", "$L1:", WAIT, "ret;", "$L2:", WAIT, "ret;"), []),
    ],
)
def test_every_way_through_a_kernel_waits_before_it_writes(lines: tuple[str, ...], said: list[str]) -> None:
    texts = [finding.text for finding in lint(_ptx(*lines), architecture=90)]
    assert len(texts) == len(said)
    assert all(any(part in text for text in texts) for part in said)


def test_kernels_are_told_apart() -> None:
    ptx = _ptx("fma.rn.f32 %f1, %f2, %f3, %f4;", "ret;", name="one") + _ptx("ret;", name="two")
    assert fused(ptx) == {"one": 1, "two": 0}
    plain = _ptx("ret;", name="one") + _ptx("ret;", name="two")
    found = contraction(ptx, plain, plain)
    assert [(finding.kernel, finding.rule) for finding in found] == [("one", "contracted")]


def test_resources_of_each_kernel() -> None:
    log = """ptxas info    : 12 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Function properties for one
ptxas         .     40 bytes stack frame, 36 bytes spill stores, 32 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 40 bytes cumulative stack size, 4096 bytes smem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers"""
    used = parse_resources(log)
    one, two = used["one"], used["two"]
    assert (one.registers, one.shared, one.stack, one.spill_stores, one.spill_loads) == (255, 4096, 40, 36, 32)
    assert (two.registers, two.shared, two.stack, two.spill_stores, two.spill_loads) == (8, 0, 0, 0, 0)


# ---- with NVRTC ----------------------------------------------------------------------------------------------------

HEAD = """extern "C" __global__ void k(float* y, const float* x, int n) {
asm volatile("griddepcontrol.wait;" ::: "memory");
"""


@pytest.fixture
def nvrtc() -> None:
    try:
        bindings()
    except NoDevice as error:
        pytest.skip(str(error))


def _compiled(body: str, options: tuple[str, ...] = OPTIONS) -> set[str]:
    source = Source(name="k.cu", text=HEAD + body + "}", headers={})
    (report,) = check_source(source, architecture=90, options=options)
    return {finding.rule for finding in report.findings}


def _with(option: str) -> tuple[str, ...]:
    name = option.split("=")[0]
    return tuple(option if given.startswith(name) else given for given in OPTIONS)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(
    ("body", "options", "rule"),
    [
        ("y[0] = x[0] * x[1] + x[2];", _with("--fmad=true"), "contracted"),
        ("y[0] = x[0] * x[1] + x[2];", OPTIONS, "contracted"),
        ("y[0] = x[0] + x[1];", OPTIONS, "contractible"),
        ("y[0] = expf(x[0]);", OPTIONS, "approximate"),
        ("y[0] = __fadd_rn(x[0], x[1]);", _with("--ftz=true"), "flush"),
        ("y[0] = __fdiv_rn(x[0], x[1]) / x[2];", _with("--prec-div=false"), "approximate"),
        ("y[0] = fmaxf(x[0], x[1]);", OPTIONS, "min-max"),
        ("atomicAdd(y, x[0]);", OPTIONS, "float-atomic"),
        ("y[0] = (double)x[0] * 0.1;", OPTIONS, "double"),
    ],
)
def test_planted_breach(body: str, options: tuple[str, ...], rule: str) -> None:
    assert rule in _compiled(body, options)


@pytest.mark.usefixtures("nvrtc")
def test_a_kernel_that_names_its_roundings_passes() -> None:
    body = "y[n] = __fdiv_rn(__fmaf_rn(x[0], x[1], __fsub_rn(x[2], 1.0f)), __fsqrt_rn(x[3]));"
    assert _compiled(body) == set()


@pytest.mark.usefixtures("nvrtc")
def test_spills_are_found() -> None:
    every = '_Pragma("unroll") for (int i = 0; i < 64; i++)'
    body = f"float v[64]; {every} v[i] = x[i * n]; {every} __syncthreads(), y[i * n] = v[i];"
    assert "spill" not in _compiled(body)
    assert "spill" in _compiled(body, (*OPTIONS, "--maxrregcount=32"))


@pytest.mark.usefixtures("nvrtc")
def test_the_engines_kernels() -> None:
    reports = check_sources(read_sources((KERNELS,)).values())
    assert {report.architecture for report in reports} == set(ARCHITECTURES)
    assert [(report.kernel, report.architecture, report.findings) for report in reports if not report.passed] == []


@pytest.mark.usefixtures("nvrtc")
def test_portable_kernels_do_without_what_sm_90_brought() -> None:
    """One kernel file, compiled both ways for sm_90."""
    source = read_sources((KERNELS,))["attention_step"]
    for options, expected in ((OPTIONS, True), (PORTABLE, False)):
        ptx = compile_source(source, architecture="sm_90", options=options).ptx
        assert ("griddepcontrol" in ptx) is expected
