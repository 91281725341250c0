"""The C side of the benchmarks, compiled when it is first needed and linked against the project's own
SHA-256.

It is compiled anew in each run: a floor that was left over from other sources would be a floor of something
else.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path

__all__ = ["ROOT", "library"]

ROOT = Path(__file__).resolve().parent.parent

_CORE = ("zts_sha256", "zts_sha256_shani", "zts_sha256_shani512", "zts_hmac", "zts_keys")
_FLAGS = ("-std=c11", "-O3", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")

_SIZE, _U32, _U64 = ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint64
_POINTER, _BYTES = ctypes.c_void_p, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "floor_backend": (ctypes.c_char_p, []),
    "floor_chain_ns": (ctypes.c_double, [_SIZE]),
    "floor_lanes_ns": (ctypes.c_double, [_SIZE]),
    "floor_lanes_are_right": (ctypes.c_int, []),
    "floor_mac_ns": (ctypes.c_double, [_SIZE]),
    "fleet_key_bytes": (_SIZE, []),
    "fleet_keys": (None, [_BYTES, _BYTES, _U32, _POINTER, _SIZE, _POINTER]),
    "fleet_sign": (
        None,
        [_POINTER, _POINTER, _POINTER, _SIZE, _U32, _U64, _U64, _U32, _BYTES, _SIZE, _SIZE, _POINTER],
    ),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library, with the types of its functions set. subprocess.CalledProcessError without a
    compiler.
    """
    with tempfile.TemporaryDirectory(prefix="ztsession-bench-") as directory:
        built = Path(directory) / "bench.so"
        _compile(built)
        loaded = ctypes.CDLL(str(built))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    if not loaded.floor_lanes_are_right():
        raise RuntimeError(
            "the two-lane floor computes another hash than the back end: its figure would mean nothing"
        )
    return loaded


def _compile(target: Path) -> None:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    sources = [ROOT / "benchmarks" / "csrc" / f"{name}.c" for name in ("floor", "fleet")]
    sources += [ROOT / "ext" / "src" / f"{name}.c" for name in _CORE]
    command = [compiler, *_FLAGS, "-I", str(ROOT / "ext" / "src"), *map(str, sources), "-o", str(target)]
    subprocess.run(command, check=True)
