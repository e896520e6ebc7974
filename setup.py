"""Compiles the data path where a C compiler is at hand; everything else about the package stands in pyproject.toml.

Two compilers, each for what it does best (docs/decisions/0001-two-compilers.md): Cython makes C of the hot lane, with the types
that the .pxd beside each module gives; mypyc makes C of the readable path, from the types in the source.

The same sources run without: SPOE_GUARD_COMPILE says ``auto`` (the default: compiled if it can be), ``require`` (or fail) or
``off``. For tests there are ``checked`` (the hot lane alone, with every index checked) and ``asan`` (the same as it is otherwise,
under AddressSanitizer and UBSan). An editable installation is pure under ``auto``: it runs the sources themselves, and they
change.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from Cython.Build import cythonize
from mypyc.build import mypycify
from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
WISHES = ("auto", "require", "checked", "asan", "off")
AT_ONCE = os.cpu_count() or 1
BUILDING = {"bdist_wheel", "build", "build_ext", "editable_wheel"}  # other commands only ask what the package is
# One function may then be made part of another, and what is libpython's is called without a detour. Both gcc and clang know them.
FASTER = ["-g0", "-fvisibility=hidden", "-fno-plt"] if sys.platform == "linux" else []
# For the lane alone, which walks over a frame with small functions: gcc would call some of them where it can put them in place.
# clang warns that it does not use this, and goes on.
INLINED = ["--param=max-inline-insns-auto=60"] if sys.platform == "linux" else []
# What is played with instead, and with the hot lane alone. -g1: a finding names the line of Python. What UBSan is told to leave
# to AddressSanitizer takes half as long again to compile.
TRIED = {"checked": ["-g0", "-O1"], "asan": ["-g1", "-O1", "-fno-omit-frame-pointer"]}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize=null,object-size", "-fno-sanitize-recover=all"]
REMEDY = "a C compiler and Python's headers are needed (on Debian: gcc libc6-dev python3-dev)"
# Types stand in the .pxd: annotations are for people and for mypy.
DIRECTIVES = {"language_level": 3, "annotation_typing": False, "auto_pickle": False, "wraparound": False}
# What a source distribution has beside that of which a wheel is made (which setuptools finds itself).
FOLDERS = (".ci", ".github", "config", "docs", "tests")
FILES = ("*.md", "Dockerfile", "Makefile", "mkdocs.yml", ".dockerignore", ".git*ignore*")
LEFT_BEHIND = ("__pycache__", ".hypothesis")


def wish() -> str:
    """Return what SPOE_GUARD_COMPILE asks for."""
    said = os.environ.get("SPOE_GUARD_COMPILE", "auto")
    if said not in WISHES:
        sys.exit(f"spoe-guard: SPOE_GUARD_COMPILE is '{said}'; allowed are {', '.join(WISHES)}")
    return said


def can_compile(scratch: Path) -> bool:
    """Whether there is a C compiler that finds Python's headers."""
    probe = scratch / "probe.c"
    probe.write_text("#include <Python.h>\n")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")  # as setuptools chooses
    command = [*compiler, f"-I{sysconfig.get_path('include')}", "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 the compiler asked for
    except OSError:
        return False


def sources() -> tuple[list[str], list[str]]:
    """Return the modules to compile: the hot lane's, and those of the readable path."""
    table = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["spoe-guard"]["compile"]
    lane, readable, left = (
        {str(path.relative_to(HERE)) for pattern in table[key] for path in HERE.glob(pattern)}
        for key in ("lane", "readable", "but")
    )
    return sorted(lane), sorted(readable - left - lane)


def extensions(scratch: Path) -> list[Extension]:
    """Return what is to be compiled; nothing for a pure build."""
    asked = wish()
    if not BUILDING & set(sys.argv) or asked == "off" or (asked == "auto" and "editable_wheel" in sys.argv):
        return []
    if not can_compile(scratch):
        if asked != "auto":
            sys.exit(f"spoe-guard: SPOE_GUARD_COMPILE={asked}: {REMEDY}")
        sys.stderr.write(f"spoe-guard: not compiled, which makes it slower: {REMEDY}\n")
        return []
    lane, readable = sources()
    checks = asked == "checked"
    made = cythonize(
        [Extension(name.removesuffix(".py").replace("/", "."), [name]) for name in lane],
        build_dir=str(scratch),
        quiet=True,
        nthreads=AT_ONCE,
        emit_linenums=asked == "asan",
        compiler_directives={**DIRECTIVES, "boundscheck": checks, "initializedcheck": checks, "nonecheck": checks},
    )
    for extension in made:
        extension.extra_compile_args = TRIED.get(asked, [*FASTER, *INLINED])
        if asked == "asan":
            extension.extra_compile_args = [*TRIED[asked], *SANITIZERS]
            extension.extra_link_args = SANITIZERS
    if asked in TRIED:
        return made
    options = [f"--cache-dir={scratch / 'mypy'}", *readable]
    compiled = mypycify(options, debug_level="0", target_dir=str(scratch), group_name="spoe_guard")
    for extension in compiled:
        extension.extra_compile_args = [*extension.extra_compile_args, *FASTER]  # they share one list
    return [*compiled, *made]  # the largest first: they are compiled side by side


class WithFiles(build_py):
    """Puts into the package what it shows: config/ (spoe_guard/examples.py) and docs/runbook.md (observe/live/runbook.py).

    An editable installation has it in the tree already, and so does whoever runs the sources.
    """

    def copies(self) -> dict[str, str]:
        """Return where each file goes."""
        files = sorted(path for path in (HERE / "config").rglob("*") if path.is_file())
        if not files:
            sys.exit("spoe-guard: config/ is missing beside setup.py; take a whole checkout, or the source distribution")
        package = Path(self.build_lib, "spoe_guard")
        copies = {str(path.relative_to(HERE)): str(package / path.relative_to(HERE)) for path in files}
        return copies | {"docs/runbook.md": str(package / "runbook.md")}

    def run(self) -> None:
        """Copy the package, and these files into it."""
        super().run()
        if not self.editable_mode:
            for source, target in self.copies().items():
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:  # noqa: FBT001, FBT002 setuptools' own signature
        """Return what it makes."""
        made = super().get_outputs(include_bytecode)
        return made if self.editable_mode else [*made, *self.copies().values()]

    def get_source_files(self) -> list[str]:
        """Return what belongs into the source distribution."""
        return [*super().get_source_files(), *self.copies()]


class WholeTree(sdist):
    """A source distribution from which the project can be tested, documented and packaged, too."""

    def make_distribution(self) -> None:
        """Add the rest of the project to the files that setuptools found, and write the archive."""
        for folder in FOLDERS:
            self.filelist.graft(folder)
        for pattern in FILES:
            self.filelist.include(pattern)
        self.filelist.files = [name for name in self.filelist.files if not set(LEFT_BEHIND) & set(Path(name).parts)]
        self.filelist.sort()
        self.filelist.remove_duplicates()
        super().make_distribution()


if __name__ == "__main__":
    # In a place of its own: what an earlier build left in build/ would go into the wheel with the rest.
    with tempfile.TemporaryDirectory() as scratch_:
        options_ = {"build": {"build_base": scratch_}, "build_ext": {"parallel": AT_ONCE}}
        classes = {"build_py": WithFiles, "sdist": WholeTree}
        setup(ext_modules=extensions(Path(scratch_)), options=options_, cmdclass=classes)
