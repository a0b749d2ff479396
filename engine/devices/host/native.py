"""csrc/abi.h in ctypes: the structs marked "mirrored" there, field by field."""

from __future__ import annotations

import ctypes

ALIGNMENT = 512


class Kernel(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("thunk", ctypes.c_void_p), ("signature", ctypes.c_char_p)]


class Range(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("bytes", ctypes.c_uint64)]


class Module(ctypes.Structure):
    _fields_ = [
        ("context", ctypes.c_void_p),
        ("api", ctypes.c_void_p),
        ("image_start", ctypes.c_void_p),
        ("image_end", ctypes.c_void_p),
        ("kernels", ctypes.POINTER(Kernel)),
        ("kernel_count", ctypes.c_int64),
        ("shared", ctypes.c_void_p),
        ("shared_count", ctypes.c_int64),
    ]


class Argument(ctypes.Structure):
    _fields_ = [
        ("start", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("allocation_start", ctypes.c_void_p),
        ("allocation_bytes", ctypes.c_uint64),
        ("allocation", ctypes.c_uint32),
        ("writable", ctypes.c_int32),
    ]


class Node(ctypes.Structure):
    _fields_ = [
        ("module", ctypes.c_void_p),
        ("thunk", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("buffer_count", ctypes.c_uint32),
        ("grid", ctypes.c_uint32),
        ("block", ctypes.c_uint32),
        ("dynamic_bytes", ctypes.c_uint32),
    ]


class Options(ctypes.Structure):
    _fields_ = [
        ("seed", ctypes.c_uint64),
        ("order", ctypes.c_int32),
        ("poison", ctypes.c_int32),
        ("check", ctypes.c_int32),
        ("preempt", ctypes.c_int32),
    ]


class Counters(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "threads",
            "switches",
            "block_barriers",
            "warp_operations",
            "loads",
            "stores",
            "load_bytes",
            "store_bytes",
        )
    ]


class Report(ctypes.Structure):
    _fields_ = [
        ("fault", ctypes.c_int32),
        ("space", ctypes.c_int32),
        ("bytes", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("address", ctypes.c_uint64),
        ("pc", ctypes.c_uint64),
        ("block", ctypes.c_uint32),
        ("thread", ctypes.c_uint32),
        ("other_block", ctypes.c_uint32),
        ("other_thread", ctypes.c_uint32),
    ]
