"""Build the wheel, install it with nothing else of ours around, and use it from outside the checkout.

Run by `make test-all`. The environment is kept between runs (`.venv-wheel`); the wheel is always new.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENV = ROOT / ".venv-wheel"
SAMPLES = ROOT / "data" / "samples" / "corpus"


def call(*command: object, folder: Path) -> str:
    """Run a command, show and return what it prints; a failure ends this script."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    sys.stdout.write(done.stdout)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, folder=folder)
        (wheel,) = folder.glob("*.whl")
        if not (VENV / "bin" / "python").exists():
            call(sys.executable, "-m", "venv", VENV, folder=folder)
        pip = (
            VENV / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
        )
        call(*pip, f"{wheel}[demo,index]", folder=folder)
        call(*pip, "--force-reinstall", "--no-deps", wheel, folder=folder)
        shutil.copy(SAMPLES / "cranfield-0.parquet", folder)
        command = VENV / "bin" / "embed-corpus"
        assert "verify" in call(command, "--help", folder=folder)
        line = (command, "run", "cranfield-0.parquet", "out", "--limit", "40", "--index", "flat", "--keep-text")
        assert "40 rows: 40 documents" in call(*line, folder=folder)
        assert "wing" in call(command, "search", "out", "wing in a slipstream", "-k", "3", folder=folder)
        assert "FAIL" not in call(command, "verify", "out", folder=folder)
    print("the wheel works")  # noqa: T201


if __name__ == "__main__":
    main()
