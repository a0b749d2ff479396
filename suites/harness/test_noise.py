"""Noise of processes: the fit is right and robust, the classes meet, noise.toml reads back."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.aa_schema import Fit, RowNoise
from harness.errors import BadCall
from harness.noise import (
    NoiseFile,
    classify,
    false_alarms,
    fit_noise,
    noise_text,
    predicted_pairs,
    read_noise,
    row_noise,
)
from harness.statistics import SLOWER, Policy, decide
from suites.harness.fake_worker import GPU

POLICY = Policy()


def medians(sd: float, processes: int, seed: int, *, drift: float = 0.0) -> list[float]:
    noise = sd * np.random.default_rng(seed).standard_normal(processes) + drift * np.linspace(0, 1, processes)
    return [float(time) for time in 1000 * np.exp(noise)]


@pytest.mark.parametrize("processes", [8, 16, 20])
def test_the_fit_is_right_in_the_middle_and_its_interval_covers(processes: int) -> None:
    fits = [fit_noise(medians(0.007, processes, seed)) for seed in range(600)]
    assert np.median([fit.sd for fit in fits]) == pytest.approx(0.007, rel=0.06)
    covered = np.mean([fit.low <= 0.007 <= fit.high for fit in fits])
    assert 0.92 <= covered <= 0.98


def test_drift_is_no_noise() -> None:
    still = np.median([fit_noise(medians(0.003, 16, seed)).sd for seed in range(200)])
    drifting = np.median([fit_noise(medians(0.003, 16, seed, drift=0.02)).sd for seed in range(200)])
    assert drifting == pytest.approx(still, rel=0.15)


def test_one_accident_is_no_noise() -> None:
    fits = []
    for seed in range(200):
        times = medians(0.003, 8, seed)
        times[seed % 8] *= 1.5
        fits.append(fit_noise(times).sd)
    assert np.median(fits) < 0.0045


@pytest.mark.parametrize(
    ("sd", "low", "expected"),
    [
        (0.0, 0.0, "quiet"),
        (0.003, 0.002, "quiet"),
        (0.0031, 0.002, "normal"),
        (0.007, 0.005, "normal"),
        (0.0071, 0.005, "noisy"),
        (0.012, 0.01, "noisy"),
        (0.0149, 0.0119, "noisy"),
        (0.0149, 0.0121, "ungateable"),
        (0.0151, 0.009, "ungateable"),
        (math.nan, math.nan, "ungateable"),
    ],
)
def test_classes_and_the_gap_between_the_last_two(sd: float, low: float, expected: str) -> None:
    assert classify(Fit(sd=sd, low=low, high=1.0, processes=8)) == expected


def test_noise_costs_pairs_and_hides_changes() -> None:
    quiet, noisy = (row_noise("k", "a row", "decode", medians(sd, 16, 3), POLICY) for sd in (0.001, 0.012))
    assert quiet.pairs == pytest.approx(4.0)
    assert 4.5 < noisy.pairs < 9
    assert quiet.smallest_visible < 0.022 < noisy.smallest_visible
    assert predicted_pairs(0.007, POLICY) == pytest.approx(4.4, abs=0.1)


def test_the_smallest_visible_change_holds_for_pairs_of_processes_of_that_noise() -> None:
    row = row_noise("k", "a row", "decode", medians(0.007, 16, 3), POLICY)
    noise = row.fit.sd * np.random.default_rng(5).standard_normal((2, 20_000, 16))
    logs = math.log1p(row.smallest_visible) + noise[0] - noise[1]
    codes, _ = decide(logs, 1000 * np.expm1(logs), POLICY)
    assert 0.88 < np.mean(codes == SLOWER) < 0.94


def test_every_labelling_of_the_pairs_is_tried() -> None:
    still, splits = false_alarms(medians(0.007, 16, 0), POLICY)
    assert (still, splits) == (0, 256)
    stepped = [1000.0, 1050.0] * 8  # two kinds of process, which no rule on pairs can tell from a slowdown
    alarms, splits = false_alarms(stepped, POLICY)
    assert 0 < alarms < splits / 2
    assert false_alarms(medians(0.007, 40, 0), POLICY)[1] == 4096


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_medians_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(BadCall, match="expected times"):
        fit_noise([1.0, 1.0, bad, 1.0])
    with pytest.raises(BadCall, match="3 processes: expected at least 4"):
        fit_noise([1.0, 1.0, 1.0])


def stored(label: str = "a row") -> NoiseFile:
    rows: tuple[RowNoise, ...] = (
        row_noise("k1", label, "decode", medians(0.005, 8, 1), POLICY),
        row_noise("k1", label, "prefill", medians(0.02, 8, 2), POLICY),
    )
    return NoiseFile(started="2026-01-02T03:04:05Z", device="cuda", gpu=GPU, version="1", tree="ab", row=rows)


@pytest.mark.parametrize("label", ["a row", 'quote " and \\ and \x7f and \x01', "näme 😀", "[[row]]\nkey = 1"])
def test_noise_is_written_and_read_back(tmp_path: Path, label: str) -> None:
    path = tmp_path / "noise.toml"
    path.write_text(noise_text(stored(label)))
    assert read_noise(path) == stored(label)


def test_without_a_gpu_it_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "noise.toml"
    path.write_text(noise_text(msgspec.structs.replace(stored(), gpu=None)))
    assert read_noise(path).gpu is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "noise.toml: schema: expected 1"),
        ("metric = ", "metrik = ", r"noise.toml: not a file of noise \(.*row\[0\]"),
        ('"decode"', '"speed"', r"noise.toml: not a file of noise \(Invalid enum value 'speed'"),
        ("schema = 1", "schema = ", "noise.toml: not a file of noise"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "noise.toml"
    path.write_text(noise_text(stored()).replace(old, new, 1))
    with pytest.raises(BadCall, match=message):
        read_noise(path)
