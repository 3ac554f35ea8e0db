"""What a wheel holds, and that its commands start."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_holds_the_package_its_data_and_nothing_else(tmp_path):
    # a copy, so that no build folder is left in the working tree
    source = tmp_path / "source"
    for name in ("seqae", "cli", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("seqae-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"seqae/{path.relative_to(ROOT / 'seqae')}" for path in (ROOT / "seqae").rglob("*.py")}
    expected |= {f"seqae/cli/{path.relative_to(ROOT / 'cli')}" for path in (ROOT / "cli").rglob("*.py")}
    expected |= {
        f"seqae/datasets/{path.name}" for path in (ROOT / "datasets").iterdir() if path.suffix in {".py", ".csv", ".md"}
    }
    expected |= {"seqae/py.typed", "seqae/report/report.css", "seqae/report/report.js"}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {name.split("/", 1)[0] for name in names} == {
        "seqae",
        next(n for n in names if ".dist-info/" in n).split("/")[0],
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_version_and_module_entry_point_agree():
    for command in (
        [sys.executable, "-m", "seqae.cli", "--version"],
        [str(Path(sys.executable).parent / "seqae"), "--version"],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert version("seqae") in result.stdout
        assert result.stderr == ""
