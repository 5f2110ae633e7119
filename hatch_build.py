"""Compile the reader of plain frames while the package is built.

Where no C compiler is, or none of Python's headers, the package is built without
it: `breeze_lab.frames` then reads everything by msgspec, slower and the same.
``CC`` names another compiler, and ``CC=false`` none.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "breeze_lab/_reader.c"


class CompileReader(BuildHookInterface[Any]):
    """Put the compiled reader into a wheel, or beside its source for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are gathered."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        name = f"breeze_lab/_reader{sysconfig.get_config_var('EXT_SUFFIX')}"
        if version == "editable":
            library = root / name
        else:
            self._folder = tempfile.TemporaryDirectory()
            library = Path(self._folder.name) / Path(name).name
        try:
            compiled(root / SOURCE, library)
        except (OSError, subprocess.SubprocessError) as exc:
            library.unlink(missing_ok=True)  # that of an older source
            self.app.display_warning(f"The reader of frames is not compiled: {exc}")
            return
        if version != "editable":
            build_data["force_include"][str(library)] = name
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, *_: Any) -> None:
        """Leave nothing behind."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def compiled(source: Path, library: Path, *options: str) -> Path:
    """Compile `source` for this Python, as the module file `library`, and return that.

    Raises
    ------
    OSError
        When there is no compiler.
    subprocess.SubprocessError
        When it fails.
    """
    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "false")
    if "CC" in os.environ:
        linker[:1] = shlex.split(os.environ["CC"])
    flags = shlex.split(sysconfig.get_config_var("CFLAGS") or "")
    part = library.with_name(f"{library.name}.{os.getpid()}")  # one that is loaded stays as it is
    command = [*linker, *flags, "-O3", "-fPIC", f"-I{sysconfig.get_path('include')}", *options,
               str(source), "-o", str(part)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        part.replace(library)
    finally:
        part.unlink(missing_ok=True)
    return library
