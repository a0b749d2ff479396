"""Model files: made by name in a cache folder, or a user's own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.code_hash import MODEL_CODE, code_hash
from harness.errors import BadCall
from harness.locks import locked
from harness.schema import ModelFacts
from harness.store import write_atomically
from harness.work_model import ModelSize, TensorFacts, model_size
from reference.spec.model import Model, open_model
from reference.synth import synth, synth_bytes, synth_names, synth_quants

KV_BYTES = {"f32": 4, "f16": 2}


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    path: Path
    facts: ModelFacts


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What another program would say of a model file."""

    architecture: str
    layers: int
    tensor_bytes: int  # of all tensors, without header and padding


def synthetic_path(name: str, quant: str, seed: int, cache: Path) -> Path:
    """Where the cache keeps a model; its name changes with the code that makes it."""
    return cache / "models" / f"{name}-{quant}-seed{seed}-{code_hash(MODEL_CODE)}.gguf"


def synthetic(name: str, quant: str, seed: int, cache: Path) -> ModelFile:
    """A model made by name, once for all processes. Raises BadInput for a name, type or pair that there is not."""
    path = synthetic_path(name, quant, seed, cache)
    with locked(path):
        if not path.exists():
            synth(name, quant=quant, seed=seed, path=path)
            _forget_others(path, f"{name}-{quant}-seed{seed}-*.gguf")
    return ModelFile(path=path, facts=_facts(path, name, quant, _noted_sha256(path)))


def require_known(name: str, quant: str) -> None:
    """Raises BadCall if there is no synthetic model of this name, or no such type."""
    if name not in synth_names():
        raise BadCall(f"model {name!r}: expected one of {', '.join(synth_names())}, or the path of a .gguf file")
    if quant not in synth_quants():
        raise BadCall(f"quant {quant!r}: expected one of {', '.join(synth_quants())}")


def synthetic_bytes(name: str, quant: str) -> int:
    """Disk a model takes. Raises BadInput for a name, type or pair that there is not."""
    return synth_bytes(name, quant)


def user_file(path: Path) -> ModelFile:
    """A user's own file, checked. Raises BadInput."""
    return ModelFile(path=path, facts=_facts(path, path.stem, file_quant(path), _sha256(path)))


def file_sha256(path: Path, cache: Path) -> str:
    """Of a model file; reading one of the cache can be spared."""
    return _noted_sha256(path) if path.is_relative_to(cache / "models") else _sha256(path)


def file_quant(path: Path) -> str:
    """The type of most of a file's bytes. Raises BadInput if it is no model."""
    types: Counter[str] = Counter()
    for info in open_model(path).file.tensors.values():
        types[info.type] += info.nbytes
    return types.most_common(1)[0][0]


def file_facts(path: Path) -> FileFacts:
    """Of a model file. Raises BadInput if it is no model."""
    model = open_model(path)
    return FileFacts(
        architecture=str(model.file.metadata["general.architecture"]),
        layers=model.spec.layers,
        tensor_bytes=sum(info.nbytes for info in model.file.tensors.values()),
    )


def open_file(path: Path) -> Model:
    """An open, checked model. Raises BadInput."""
    return open_model(path)


def size_of(model: Model, kv: str) -> ModelSize:
    spec = model.spec
    tensors = [TensorFacts(name=t.name, shape=t.shape, bytes=t.nbytes) for t in model.file.tensors.values()]
    return model_size(
        tensors,
        layers=spec.layers,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        kv_bytes=KV_BYTES[kv],
    )


def _facts(path: Path, name: str, quant: str, sha256: str) -> ModelFacts:
    return ModelFacts(name=name, quant=quant, sha256=sha256, bytes=path.stat().st_size)


def _noted_sha256(path: Path) -> str:
    """The hash of a file of the cache, kept beside it, as reading gigabytes takes seconds."""
    status = path.stat()
    stamp = [status.st_size, status.st_mtime_ns]
    note = path.with_name(f"{path.name}.sha256")
    with suppress(OSError, ValueError, KeyError, TypeError):  # no note, or none that can be read: it is written anew
        known = json.loads(note.read_bytes())
        if known["stamp"] == stamp:
            return str(known["sha256"])
    digest = _sha256(path)
    write_atomically(note, json.dumps({"stamp": stamp, "sha256": digest}).encode())
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _forget_others(path: Path, pattern: str) -> None:
    """Remove what earlier code made of the same model; a process that has it mapped keeps it."""
    for other in path.parent.glob(pattern):
        if other != path:
            other.unlink(missing_ok=True)


def require_disk(folder: Path, needed: int, what: str) -> None:
    """Raise BadCall if the disk that would take `folder` has less than `needed` bytes left."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if not needed <= free:
        raise BadCall(
            f"not enough disk in {folder}: {what} take {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free"
        )
