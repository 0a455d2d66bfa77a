"""The C of the extension: it compiles without a warning, and runs under sanitizers, valgrind and faults of library and kernel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from vaultstream.crypto.multibuffer import Multibuffer

pytestmark = [pytest.mark.unit, pytest.mark.timeout(600)]  # compilers on a busy machine

ROOT = Path(__file__).parents[2]
NATIVE, LIBRARY = ROOT / "workers/native", ROOT / "build/native"
CHECKS = ROOT / "tests/native"
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
STRICT = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"]
WRAPPED = [
    f"-Wl,--wrap=mbx_{function}_mb8"
    for function in ("nistp256_ecpublic_key", "nistp256_ecdsa_verify", "ed25519_sign", "ed25519_public_key")
]


@pytest.fixture(scope="module")
def compiler(native: Multibuffer) -> str:
    found = shutil.which("gcc")
    if not found or not (LIBRARY / "lib/libcrypto_mb.a").exists():
        pytest.skip("needs gcc and what hack/native downloads")
    return found


def build(compiler: str, target: Path, sources: list[Path], *options: str) -> Path:
    subprocess.run(
        [
            *(compiler, *STRICT, "-DBN_OPENSSL_DISABLE", "-I", str(NATIVE)),
            *("-isystem", str(LIBRARY / "include/aggregator"), "-o", str(target), *map(str, sources)),
            *(str(LIBRARY / "lib/libcrypto_mb.a"), *options),
        ],
        check=True,
    )
    return target


def driver(compiler: str, target: Path, *options: str) -> Path:
    """Builds the checks with the files of the extension that know nothing of Python."""
    core = [file for file in NATIVE.glob("*.c") if not file.name.startswith("module")]
    return build(compiler, target, [*CHECKS.glob("*.c"), *core], "-lpthread", *WRAPPED, *options)


@pytest.fixture(scope="module")
def plain(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return driver(compiler, tmp_path_factory.mktemp("native") / "driver", "-O2", "-g")


def ran(*command: object, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, env=environment or None
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_core_holds_under_sanitizers_with_a_failing_library_and_kernel(
    compiler: str, tmp_path: Path
) -> None:
    """Hashes, DER, nonces out of range, a source that fails, ends or repeats itself, each lane's status, all lengths."""
    sanitized = driver(compiler, tmp_path / "driver", *SANITIZED)
    for seed in range(2):
        ran(sanitized, "all", seed)


def test_the_module_holds_under_sanitizers_with_arguments_of_all_kinds(compiler: str, tmp_path: Path) -> None:
    headers = ["-I", sysconfig.get_path("include"), "-DPy_LIMITED_API=0x030B0000"]
    options = [*SANITIZED, *headers, "-fPIC", "-shared"]
    build(compiler, tmp_path / "_multibuffer.abi3.so", list(NATIVE.glob("*.c")), *options)
    runtimes = [ran(compiler, f"-print-file-name={name}").strip() for name in ("libasan.so", "libubsan.so")]
    environment = {
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    succeeded, raised = map(
        int, ran(sys.executable, CHECKS / "fuzz_module.py", tmp_path, 1, **environment).split()
    )
    assert succeeded > 1000
    assert raised > 500


def test_the_core_holds_under_valgrind_without_the_library(plain: Path) -> None:
    """Valgrind knows no AVX-512, so the library itself can't run in it."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        pytest.skip("valgrind is not installed")
    ran(valgrind, "--quiet", "--error-exitcode=9", "--leak-check=full", plain, "plain", 1)


def test_nothing_of_nonces_or_keys_stays_on_the_stack(plain: Path) -> None:
    depths = list(map(int, ran(plain, "traces", 1).split()))
    assert len(depths) == 4
    # 32 KB are wiped, below up to 16 KB that are wiped by themselves.
    assert all(32_000 < depth < 56_000 for depth in depths)
