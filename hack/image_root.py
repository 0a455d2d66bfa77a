"""hack/image_root.py ROOT: copies what the environment of this Python needs of the system into the empty folder ROOT.

That becomes the root of the image: Python with its library, the shared libraries that something links, time zones, and names of users.
Nothing else of the system is in it: no shell, no package manager, no perl, nothing that runs with another user's rights. The packages
that files come from are noted in /var/lib/dpkg/status.d, where scanners of images look for them, with their licenses.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

LEFT_OUT = shutil.ignore_patterns(
    *(
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "turtle.py",
        "ensurepip",
        "lib2to3",
        "pydoc_data",
        "config-*",
    ),
    *(
        "site-packages",
        "dist-packages",
        "__pycache__",
        "EXTERNALLY-MANAGED",
        "sqlite3",
        "_sqlite3.*",
        "curses",
        "_curses*",
    ),
    *(
        "_tkinter.*",
        "readline.*",
        "_dbm.*",
        "_gdbm.*",
        "_test*",
        "_ctypes_test*",
        "_xxtestfuzz*",
        "xx*",
        "*.a",
    ),
)
"""Of Python's library: what VaultStream imports nowhere."""
FORBIDDEN = {"sh", "bash", "dash", "apt", "apt-get", "dpkg", "perl", "su", "mount", "pip", "busybox"}
USERS = "root:x:0:0:root:/:/nonexistent\nvaultstream:x:65532:65532::/tmp:/nonexistent\n"
GROUPS = "root:x:0:\nvaultstream:x:65532:\n"


class Root:
    """The folder that becomes the root of an image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources: set[str] = set()
        for name in ("bin", "lib", "lib64", "sbin"):  # Debian merges them into /usr
            if (link := Path("/", name)).is_symlink():
                (folder / "usr" / name).mkdir(parents=True)
                (folder / name).symlink_to(link.readlink())
        (folder / "tmp").mkdir(mode=0o1777)
        (folder / "tmp").chmod(0o1777)

    def add(self, path: Path) -> None:
        """Copies a file under its name, and the files that it links to."""
        path = path.parent.resolve() / path.name
        target = self.folder / path.relative_to("/")
        if os.path.lexists(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
        self._sources.add(str(path))
        if path.is_symlink():
            self.add(path.parent / path.readlink())

    def add_tree(self, path: Path, *, symlinks: bool = True) -> None:
        target = self.folder / path.relative_to("/")
        shutil.copytree(path, target, symlinks=symlinks, ignore=LEFT_OUT, dirs_exist_ok=True)
        self._sources |= {
            str(path / file.relative_to(target)) for file in target.rglob("*") if file.is_file()
        }

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def note_packages(self, *others: str) -> None:
        """Notes the Debian packages that the files come from, and copies their licenses."""
        asked = [name for path in sorted(self._sources) for name in {path, path.removeprefix("/usr")}]
        found = set(others)
        for start in range(0, len(asked), 500):
            answer = subprocess.run(
                ["/usr/bin/dpkg-query", "--search", *asked[start : start + 500]],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            found |= set(re.findall(r"^([a-z0-9.+-]+)(?::[a-z0-9]+)?: /", answer, re.MULTILINE))
        for name in sorted(found):
            status = subprocess.run(
                ["/usr/bin/dpkg-query", "--status", name], capture_output=True, text=True, check=True
            )
            self.write(f"var/lib/dpkg/status.d/{name}", status.stdout)
            license_of = Path("/usr/share/doc", name, "copyright").resolve()
            self.write(f"usr/share/doc/{name}/copyright", license_of.read_text(errors="replace"))


def libraries_of(files: list[Path]) -> set[Path]:
    """Returns the shared libraries of the system that files link, the loader included."""
    output = subprocess.run(
        ["/usr/bin/ldd", *map(str, files)], capture_output=True, text=True, check=False
    ).stdout
    missing = re.findall(r"^\s*(\S+) => not found", output, re.MULTILINE)
    if missing:
        sys.exit(f"error: libraries that nothing provides: {', '.join(sorted(set(missing)))}")
    return {Path(name) for name in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", output, re.MULTILINE)}


def main() -> None:
    root, environment = Root(Path(sys.argv[1])), Path(sys.prefix)
    interpreter = Path(sys.executable)
    if interpreter.is_symlink():
        root.add(interpreter.readlink())
    root.add(interpreter.resolve())
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    library = Path(sysconfig.get_path("stdlib", vars=base))
    root.add_tree(library, symlinks=False)
    compiled = [*environment.rglob("*.so*"), *(root.folder / library.relative_to("/")).rglob("*.so*")]
    for found in libraries_of([interpreter.resolve(), *compiled]):
        if not found.is_relative_to(environment):
            root.add(found)
    [libc] = {path for path in libraries_of([interpreter.resolve()]) if path.name == "libc.so.6"}
    root.add(libc.with_name("libgcc_s.so.1"))  # glibc loads it when a thread ends

    root.add_tree(Path("/usr/share/zoneinfo"))
    for name in (
        "/usr/lib/ssl/certs",
        "/usr/lib/ssl/openssl.cnf",
        "/etc/ssl/openssl.cnf",
        "/usr/lib/os-release",
    ):
        source = Path(name)
        if source.is_symlink():
            (root.folder / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root.folder / name[1:]).symlink_to(source.readlink())
        elif source.exists():
            root.add(source)
    (root.folder / "etc").mkdir(exist_ok=True)
    (root.folder / "etc/os-release").symlink_to("../usr/lib/os-release")
    root.write("etc/passwd", USERS)
    root.write("etc/group", GROUPS)
    root.write("etc/nsswitch.conf", "hosts: files dns\n")
    root.write("etc/ld.so.conf", "/usr/local/lib\n")
    subprocess.run(["/usr/sbin/ldconfig", "-X", "-r", str(root.folder)], check=True)
    shutil.rmtree(root.folder / "var/cache/ldconfig", ignore_errors=True)
    root.note_packages("ca-certificates", "tzdata")

    compileall.compile_dir(
        root.folder / library.relative_to("/"),
        quiet=1,
        stripdir=str(root.folder),
        prependdir="/",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    for path in root.folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            sys.exit(f"error: {path} runs with another user's rights")
        if path.name in FORBIDDEN and path.parent.name in {"bin", "sbin"}:
            sys.exit(f"error: {path} does not belong into the image")


main()
