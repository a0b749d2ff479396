"""Every switch of the engine, in one frozen record that travels with each result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from reference.spec.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Toggles:
    """Which way a session computes. Only `kv` changes what is computed; all others give the same bits."""

    graph: Literal["on", "off"] = "on"
    pdl: Literal["on", "off"] = "on"
    prefill: Literal["batched", "sequential"] = "batched"
    chunk: int = 2048
    kv: Literal["f32", "f16"] = "f16"
    matmul: Literal["auto", "matvec", "gemm"] = "auto"
    fused: Literal["on", "off"] = "on"
    portable: Literal["on", "off"] = "off"
    tape: Literal["on", "off"] = "off"

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))

    @classmethod
    def parse(cls, settings: Iterable[str]) -> Toggles:
        """From `name=value` texts, as the command line gives them."""
        values: dict[str, str] = {}
        for text in settings:
            name, equals, value = text.partition("=")
            if not equals:
                raise BadInput(f"toggle {text!r}: expected name=value, for example graph=off")
            if name in values:
                raise BadInput(f"toggle {name}: given twice")
            values[name] = value
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: Mapping[str, str | int]) -> Toggles:
        """From a table of a configuration file; unknown names and bad values are BadInput."""
        known = {toggle.name for toggle in TOGGLES}
        for name in values:
            if name not in known:
                raise BadInput(f"unknown toggle {name!r}: expected one of {', '.join(sorted(known))}")
        chosen: dict[str, str | int] = dict(values)
        if "chunk" in chosen:
            chosen["chunk"] = _integer("chunk", chosen["chunk"])
        return cls(**chosen)  # type: ignore[arg-type]  # __post_init__ checks every value

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ToggleInfo:
    """One line of `zeroulp toggles`."""

    name: str
    meaning: str
    values: tuple[str, ...]  # empty: a whole number from `minimum`
    default: str
    minimum: int = 0
    diagnostic: bool = False  # looks at what is computed: no row is measured with it

    @property
    def choices(self) -> str:
        return " | ".join(self.values) if self.values else f"whole number, at least {self.minimum}"


def _info(name: str, meaning: str, *values: str, minimum: int = 0, diagnostic: bool = False) -> ToggleInfo:
    default = str(getattr(Toggles, name))
    return ToggleInfo(
        name=name, meaning=meaning, values=values, default=default, minimum=minimum, diagnostic=diagnostic
    )


TOGGLES: tuple[ToggleInfo, ...] = (
    _info("graph", "decode by replaying one captured graph instead of launching each kernel", "on", "off"),
    _info("pdl", "let a kernel start before its predecessor ends (from sm_90 on; not on the host)", "on", "off"),
    _info("prefill", "all rows of a chunk in one pass, or one token after the other", "batched", "sequential"),
    _info("chunk", "rows of one batched prefill pass (at most the session's max_batch)", minimum=1),
    _info("kv", "storage of keys and values; changes what is computed, and the oracle knows it", "f32", "f16"),
    _info(
        "matmul", "matvec up to the rows of the GPU's table (else 1), few up to 8, then gemm", "auto", "matvec", "gemm"
    ),
    _info("fused", "kernels that do several operations in one", "on", "off"),
    _info("portable", "kernels without what only sm_90 and later have, and no PDL (not on the host)", "on", "off"),
    _info("tape", "after every op note a hash of what it wrote, inside a graph too", "on", "off", diagnostic=True),
)


def _check(name: str, value: object) -> None:
    info = next(toggle for toggle in TOGGLES if toggle.name == name)
    good = value in info.values if info.values else isinstance(value, int) and value >= info.minimum
    if not good:
        raise BadInput(f"toggle {name}: {value!r} is not {info.choices}")


def _integer(name: str, value: str | int) -> int:
    try:
        return int(value)
    except ValueError:
        raise BadInput(f"toggle {name}: {value!r} is not a whole number") from None
