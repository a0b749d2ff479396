"""`zeroulp check-kernel` on every device: right kernels of two ops pass, the same with one wrong line do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.device import Device
from harness.cli.main import zeroulp
from suites.status import not_applicable

RMS_NORM = Path(__file__).parents[2] / "examples" / "rms_norm.cu"
PLAIN = Path(__file__).with_name("plain.cu")
WRONG = {
    "rms_norm": ("__fdiv_rn(sum, __int2float_rn(dim))", "__fmul_rn(sum, __fdiv_rn(1.0f, __int2float_rn(dim)))"),
    "rope": ("__fmaf_rn(x[i], c, -__fmul_rn(x[i + pairs], s))", "__fsub_rn(__fmul_rn(x[i], c), x[i + pairs] * s)"),
}


@pytest.mark.parametrize(("op", "source", "entry"), [("rms_norm", RMS_NORM, "my_rms_norm"), ("rope", PLAIN, "rope")])
def test_one_rounding_more_is_seen(
    device: Device, op: str, source: Path, entry: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if not source.exists():
        not_applicable("the examples are a part of the checkout, not of the package")
    right, wrong = WRONG[op]
    text = source.read_text()
    assert text.count(right) == 1
    codes, found = [], []
    for name, kernel in (("right.cu", text), ("wrong.cu", text.replace(right, wrong))):
        (tmp_path / name).write_text(kernel)
        options = ["--op", op, "--entry", entry, "--grids", "3", "--device", device.name, "--json"]
        codes.append(zeroulp(["check-kernel", str(tmp_path / name), *options]))
        found.append(json.loads(capfd.readouterr().out)["results"])
    assert codes == [0, 1]
    assert all(case["outcome"] == "passed" and case["values"] for case in found[0])
    assert any(case["differing"] for case in found[1])
    assert len(found[0]) == len(found[1])
