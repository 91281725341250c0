"""Builds the extension modules; everything else about the package is in pyproject.toml."""

import os
import shlex

from Cython.Build import cythonize
from setuptools import Extension, setup

# The parts of the C core on the path of a call, all linked into ztsession._core.
CORE = [
    "clock",
    "hmac",
    "keys",
    "profile",
    "session",
    "sha256",
    "sha256_shani",
    "sha256_shani512",
    "sign",
    "slot",
    "table",
    "verify",
]

# CFLAGS from the environment come last, so that a sanitizer build can lower the optimisation.
FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
FLAGS += shlex.split(os.environ.get("CFLAGS", ""))


def extension(name: str, *c_sources: str) -> Extension:
    """One module of the package, and the C files that are linked into it and nowhere else."""
    return Extension(
        f"ztsession.{name}",
        [f"ext/ztsession/{name}.pyx", *c_sources],
        include_dirs=["ext/src", "ext/ztsession"],
        depends=[f"ext/src/{f}" for f in sorted(os.listdir("ext/src"))] + ["ext/ztsession/vectorcall.h"],
        extra_compile_args=FLAGS,
    )


setup(
    ext_modules=cythonize(
        [
            extension("_core", *(f"ext/src/zts_{part}.c" for part in CORE)),
            extension("_limits"),
            extension("_canonical"),
            extension("_records"),
            extension("_calls"),
            extension("_batch"),
            extension("_scan", "ext/src/zts_scan.c"),
        ],
        build_dir="build/cython",
        include_path=["ext"],
        compiler_directives={
            "language_level": "3",
            "binding": False,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)
