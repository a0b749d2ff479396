"""`zeroulp selftest`: what is chosen, what is kept when it stops, and what a miss amounts to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.selftest import Selftest, read_selftest, score_of
from suites.selftest import campaign
from suites.selftest.campaign import UNPLANTED, Campaign, CampaignPlan, chosen, sample
from suites.selftest.faults import AREAS, FAULTS
from suites.selftest.planting import ROOT, Outcome, Verdict

Captured = pytest.CaptureFixture[str]
NAMES = tuple(fault.name for fault in FAULTS[:5])
CODE = "0123456789abcdef"
QUICK = "compare-of-nothing-passes"  # its check takes no device and no model


def plan(*names: str) -> CampaignPlan:
    return CampaignPlan(
        names=names or NAMES, device="host", code=CODE, seed=None, started="2026-01-01T00:00:00Z", command="x"
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Selftest]:
    """Runs a campaign whose faults end as `outcomes` says, caught by default; `planted` collects their names."""

    def run(planted: list[str] | None = None, clean: Outcome = "missed", **outcomes: Outcome) -> Selftest:
        def plant(fault: Any, folder: Path, **_: Any) -> Verdict:
            if planted is not None:
                planted.append(fault.name)
            outcome = outcomes.get(fault.name.replace("-", "_"), "caught")
            return Verdict(outcome=outcome, by="test_x::test_y" if outcome == "caught" else "", message="assert 1 == 2")

        monkeypatch.setattr(campaign, "plant", plant)
        monkeypatch.setattr(campaign, "scratch_copy", lambda folder: folder)
        monkeypatch.setattr(campaign, "run_checks", lambda *_, **__: Verdict(outcome=clean, by="t", message="m"))
        return Campaign(folder=tmp_path, workers=2, environment={}, say=lambda line: None).run(plan())

    return run


def test_all_caught_is_0_with_the_check_of_each(run: Callable[..., Selftest]) -> None:
    found = run()
    assert (found.exit_code, found.caught, found.planted, found.missed) == (0, 5, 5, ())
    assert [(fault.name, fault.by) for fault in found.faults] == [(name, "test_x::test_y") for name in NAMES]
    assert found.catalogue > found.planted
    assert not found.whole


@pytest.mark.parametrize("outcome", ["missed", "crashed"])
def test_a_miss_is_listed_and_exits_1(run: Callable[..., Selftest], outcome: Outcome) -> None:
    found = run(**{NAMES[1].replace("-", "_"): outcome})
    assert (found.exit_code, found.caught, found.planted) == (1, 4, 5)
    assert [(one.name, one.outcome) for one in found.missed] == [(NAMES[1], outcome)]
    assert [fault.caught for fault in found.faults] == [True, False, True, True, True]
    assert found.score().missed == (NAMES[1],)


def test_a_check_that_shows_nothing_or_fails_unplanted_exits_2(run: Callable[..., Selftest], tmp_path: Path) -> None:
    assert run(**{NAMES[1].replace("-", "_"): "broken"}).exit_code == 2
    for file in (tmp_path / "tried").iterdir():
        file.unlink()
    found = run(clean="caught")
    assert (found.exit_code, found.caught) == (2, 5)
    assert [(one.name, one.message) for one in found.missed] == [(UNPLANTED, "t m")]


def test_one_that_stopped_goes_on_with_what_it_lacks(run: Callable[..., Selftest], tmp_path: Path) -> None:
    whole = run()
    kept = sorted(path.name for path in (tmp_path / "tried").iterdir())
    assert kept == sorted(f"{name}.json" for name in (UNPLANTED, *NAMES))
    (tmp_path / "tried" / f"{NAMES[3]}.json").unlink()
    planted: list[str] = []
    again = run(planted)
    assert planted == [NAMES[3]]
    assert again.faults == whole.faults


def test_what_showed_nothing_is_tried_again(run: Callable[..., Selftest]) -> None:
    assert run(**{NAMES[1].replace("-", "_"): "broken"}).exit_code == 2
    planted: list[str] = []
    assert run(planted).exit_code == 0
    assert planted == [NAMES[1]]


def test_a_fault_whose_line_is_gone_is_broken_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "scratch_copy", lambda folder: folder)
    monkeypatch.setattr(campaign, "run_checks", lambda *_, **__: Verdict(outcome="missed", by="", message=""))

    def plant(fault: Any, folder: Path, **_: Any) -> Verdict:
        if fault.name == NAMES[0]:
            raise ValueError("'x' occurs 0 times in a.py, expected once")
        return Verdict(outcome="caught", by="t", message="assert")

    monkeypatch.setattr(campaign, "plant", plant)
    found = Campaign(folder=tmp_path, workers=2, environment={}, say=lambda line: None).run(plan())
    assert (found.exit_code, found.caught) == (2, 4)
    assert [(one.name, one.outcome) for one in found.missed] == [(NAMES[0], "broken")]
    assert "occurs 0 times" in found.missed[0].message


def test_another_code_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign.write_plan(tmp_path, plan())
    monkeypatch.setattr(campaign, "code_here", lambda: CODE)
    assert campaign.read_plan(tmp_path) == plan()
    monkeypatch.setattr(campaign, "code_here", lambda: "0" * 16)
    with pytest.raises(BadCall, match=f"was begun on other code \\({CODE}\\) than this"):
        campaign.read_plan(tmp_path)


def test_code_that_changes_meanwhile_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    codes = iter("abc")
    monkeypatch.setattr(campaign, "code_here", lambda: next(codes))
    assert zeroulp(["selftest", "--faults", QUICK, "-n", "1", "--out", str(tmp_path / "x")]) == 2
    assert "the packages were changed meanwhile" in capsys.readouterr().err
    assert not (tmp_path / "x" / "selftest.json").exists()


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_seeds_one_after_the_other_see_every_fault(size: int) -> None:
    names = tuple(f"f{i}" for i in range(23))
    parts = [sample(names, size, seed) for seed in range(740_000, 740_000 + math.ceil(23 / size))]
    assert {name for part in parts for name in part} == set(names)
    assert {len(part) for part in parts} == {min(size, 23)}
    assert parts[0] == sample(names, size, 740_000)


def test_faults_are_chosen_by_name_pattern_and_area() -> None:
    assert chosen((QUICK,), "host") == (QUICK,)
    assert chosen(("gate",), "host") == tuple(fault.name for fault in AREAS["gate"] if not fault.cuda_only)
    assert QUICK in chosen(("compare-*",), "host")
    assert len(chosen(("compare-*", "all"), "host")) == sum(not fault.cuda_only for fault in FAULTS)
    with pytest.raises(BadCall, match="--faults nothing: no fault for host; expected a name, a pattern"):
        chosen(("nothing",), "host")


def test_the_command_says_who_saw_it(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(campaign, "code_here", lambda: CODE)
    folder = tmp_path / "one"
    assert zeroulp(["selftest", "--faults", QUICK, "-n", "1", "--out", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [sorted(fault) for fault in found["faults"]] == [["by", "caught", "name"]]
    assert found["faults"][0]["by"] == "test_compare::test_nothing_compared_is_not_the_same"
    assert (found["caught"], found["planted"], found["code"]) == (1, 1, CODE)
    assert out.encode() == (folder / "selftest.json").read_bytes()
    assert "about" in err  # what is left
    assert read_selftest(folder / "selftest.json").score().caught == 1
    assert score_of(ROOT, "host", tmp_path / "cache" / "zeroulp") is None  # a part says nothing of the whole
    assert zeroulp(["selftest", "--resume", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASS: 1 of 1 planted faults caught (a part of ")


def test_a_sample_says_how_to_have_it_again(tmp_path: Path, capsys: Captured) -> None:
    assert zeroulp(["selftest", "--list", "--faults", "gate", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["faults"]
    assert [fault["name"] for fault in listed] == list(chosen(("gate",), "host"))
    call = ["selftest", "--faults", QUICK, "--faults", "compare-of-two*", "--sample", "1", "-n", "1"]
    assert zeroulp([*call, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("1 fault; the same again: zeroulp selftest --device host ")
    assert "--sample 1 --seed 7" in said  # days since the year 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "nothing"], "no fault for host"),
        (["--seed", "3"], "--seed: expected --sample beside it"),
        (["--resume", "nowhere"], "not the folder of a selftest"),
        (["--resume", "nowhere", "--faults", "all"], "give it with -n or --json alone"),
    ],
)
def test_a_bad_call_is_one_line(arguments: list[str], message: str, capsys: Captured) -> None:
    assert zeroulp(["selftest", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
