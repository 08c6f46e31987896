"""`python -m atp.compiled`: compile the modules of the inner loop whose sources have changed since."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path

from atp.compiled import FOLDER, MODULES, place_of, source_of


def build(modules: list[str]) -> None:
    """Compile modules and put them in their places, one by one: a build that breaks off leaves whole files only."""
    from Cython.Build import cythonize
    from setuptools import Extension, setup

    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        extensions = [Extension(m, [str(source_of(m))], extra_compile_args=["-O2", "-g0"]) for m in modules]
        made = cythonize(
            extensions,
            build_dir=folder,
            language_level=3,
            quiet=True,
            # annotations stay what they are to the interpreter: words, never types of C
            compiler_directives={"annotation_typing": False, "binding": True},
        )
        arguments = ["-q", "build_ext", "--build-lib", folder, "--build-temp", folder, "-j", "2"]
        setup(name="compiled", packages=[], ext_modules=made, script_args=arguments)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for module in modules:
            Path(folder, *module.split(".")).with_name(module.rpartition(".")[2] + suffix).replace(place_of(module))


def sweep() -> None:
    """Remove what belongs to sources that are no more."""
    kept = {place_of(module) for module in MODULES}
    for found in FOLDER.glob("*.so"):
        if found not in kept:
            found.unlink(missing_ok=True)


def main() -> int:
    """Build what is missing; without a compiler say so, and leave the interpreter to it."""
    if wanted := [module for module in MODULES if not place_of(module).exists()]:
        try:
            build(wanted)
        except (Exception, SystemExit) as error:  # noqa: BLE001 # no compiler, no headers: nothing that must be mended
            reason = str(error).strip().splitlines()[-1]
            sys.stderr.write(f"not compiled, so interpreted, at about three quarters of the speed: {reason}\n")
        sweep()
    return 0


if __name__ == "__main__":
    sys.exit(main())
