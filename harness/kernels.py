"""From the launches of a step to groups of one kernel and one shape, with the bytes and operations each needs.

Counted as in harness/work_model.py, but launch by launch: the tensors of the model file that a launch is given (of the
embedding table the rows of this step only), keys and values up to the step's last position where attention reads them,
keys and values of the step where they are appended. Activations stay in the cache of the chip and are not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.schema import Ceiling

EMBEDDING, ATTENTION = "embedding", "attention"  # how the names of kernels begin that read a table, or a cache
ATTENTION_STEP = "attention_step"  # of those, the ones that append to the cache as well
FLOAT_TYPES = ("F32", "F16", "BF16")
READ, INT8, FLOAT32 = "read", "int8_mma", "fp32_fma"  # names of ceilings
SCALES = {"GB/s": 1e9, "TOP/s": 1e12}

_CACHE = re.compile(r"(keys|values)\.\d+$")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A buffer that a launch was given."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Call:
    """One launch, as far as it decides what the launch does. Arguments that are no buffer stand in `scalars`."""

    module: str
    kernel: str
    grid: int
    block: int
    shared: int
    buffers: tuple[Memory, ...]
    scalars: tuple[float, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for launches that do the same work on other data."""
        sizes = tuple((buffer.dtype, buffer.shape) for buffer in self.buffers)
        return (self.module, self.kernel, self.grid, self.block, self.shared, sizes, self.scalars)


@dataclass(frozen=True, kw_only=True)
class TensorType:
    """One line of the tensor list; `shape` in numpy order, `bytes` in the file."""

    type: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the byte model has to know of a step."""

    tensors: Mapping[str, TensorType]
    rows: int
    position: int  # of row 0
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one launch."""

    weight_bytes: float = 0.0
    kv_bytes: float = 0.0
    operations: float = 0.0
    weights: tuple[str, ...] = ()  # names of the tensors it reads
    floats: bool = True  # whether its operations are float32, not int8


@dataclass
class Group:
    """Launches of one kernel on one shape; `places` are their indices in the step."""

    call: Call
    shape: str
    places: list[int] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)

    @property
    def weight_bytes(self) -> float:
        return sum(work.weight_bytes for work in self.works)

    @property
    def kv_bytes(self) -> float:
        return sum(work.kv_bytes for work in self.works)

    @property
    def operations(self) -> float:
        return sum(work.operations for work in self.works)

    @property
    def floats(self) -> bool:
        return all(work.floats for work in self.works)

    @property
    def roles(self) -> tuple[str, ...]:
        """What the tensors are called in every layer: "blk.3.attn_q.weight" is "attn_q"."""
        names = (name for work in self.works for name in work.weights)
        return tuple(dict.fromkeys(re.sub(r"^blk\.\d+\.|\.weight$", "", name) for name in names))


def groups(calls: Sequence[Call], step: Step) -> tuple[Group, ...]:
    """The launches of a step by kernel and shape, in the order in which each is first met."""
    found: dict[tuple[object, ...], Group] = {}
    for place, call in enumerate(calls):
        group = found.setdefault(call.key, Group(call=call, shape=shape_text(call, step)))
        group.places.append(place)
        group.works.append(work(call, step))
    return tuple(found.values())


def work(call: Call, step: Step) -> Work:
    """Bytes that a launch cannot avoid moving, and its multiplications and additions."""
    tensors = _tensors(call, step)
    table = call.kernel.startswith(EMBEDDING)
    matrices = [tensor for tensor in tensors.values() if len(tensor.shape) == 2]
    weight_bytes = sum(tensor.bytes * (step.rows / tensor.shape[0] if table else 1) for tensor in tensors.values())
    products = 0 if table else 2 * _rows(call, step) * sum(math.prod(tensor.shape) for tensor in matrices)
    attention = call.kernel.startswith(ATTENTION)
    moved, scores = _cache(call, step, reads=attention)
    quantized = [tensor for tensor in matrices if tensor.type not in FLOAT_TYPES]
    return Work(
        weight_bytes=weight_bytes,
        kv_bytes=moved,
        operations=products + scores,
        weights=tuple(tensors),
        floats=attention or not quantized,
    )


def shape_text(call: Call, step: Step) -> str:
    """The matrices that a launch multiplies by, with the rows it multiplies; else the shape of its first buffer."""
    matrices = [tensor for tensor in _tensors(call, step).values() if len(tensor.shape) == 2]
    if matrices:
        texts = [f"{' x '.join(map(str, tensor.shape))} {tensor.type}" for tensor in matrices]
        return f"{_rows(call, step)} x " + " + ".join(texts)
    return " x ".join(map(str, call.buffers[0].shape)) if call.buffers else ""


def roof(
    *, seconds: float, moved: float, operations: float, floats: bool, ceilings: Sequence[Ceiling]
) -> tuple[str, float | None]:
    """The ceiling that asks for more time than the others, and its share of `seconds` in percent."""
    rates = {ceiling.name: ceiling.median * SCALES[ceiling.unit] for ceiling in ceilings if ceiling.unit in SCALES}
    amounts = {READ: moved, FLOAT32 if floats else INT8: operations}
    times = {name: amount / rates[name] for name, amount in amounts.items() if name in rates and amount > 0}
    if not times or not seconds > 0:
        return "", None
    name = max(times, key=lambda known: times[known])
    return name, 100 * times[name] / seconds


def _tensors(call: Call, step: Step) -> dict[str, TensorType]:
    """Tensors of the model file among the arguments, each once; uint8 memory of another name is taken as packed."""
    found: dict[str, TensorType] = {}
    for buffer in call.buffers:
        if buffer.name in step.tensors:
            found[buffer.name] = step.tensors[buffer.name]
        elif buffer.dtype == "uint8":
            found[buffer.name] = TensorType(type="packed", shape=(buffer.nbytes,), bytes=buffer.nbytes)
    return found


def _rows(call: Call, step: Step) -> int:
    """Rows of this launch: what it writes has them first. The head works on fewer than the step has."""
    first = call.buffers[0].shape if call.buffers else ()
    return first[0] if len(first) >= 2 and 1 <= first[0] <= step.rows else step.rows


def _cache(call: Call, step: Step, *, reads: bool) -> tuple[float, float]:
    """Bytes of keys and values that a launch moves, and the operations of attention over them."""
    caches = {buffer.name: buffer for buffer in call.buffers if _CACHE.search(buffer.name)}
    if not caches:
        return 0.0, 0.0
    appends = not reads or call.kernel.startswith(ATTENTION_STEP)
    positions = (step.position + step.rows) * reads + step.rows * appends
    cell = step.kv_heads * step.head_dim
    moved = sum(positions * cell * buffer.nbytes / math.prod(buffer.shape) for buffer in caches.values())
    keys = sum(step.position + row + 1 for row in range(step.rows))
    return moved, 4.0 * step.heads * step.head_dim * keys if reads else 0.0
