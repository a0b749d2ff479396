"""Every op that a user's kernel can be checked against, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.adapters.user_kernel.op import Op
from harness.adapters.user_kernel.plain_ops import PLAIN_OPS
from harness.adapters.user_kernel.weight_ops import WEIGHT_OPS

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for op in (*PLAIN_OPS, *WEIGHT_OPS)})
