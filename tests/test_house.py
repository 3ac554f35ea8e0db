"""The house rules that a machine can see: floors, names, no pickles, module sizes, the public face."""

import ast
import configparser
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import seqae

ROOT = Path(__file__).parent.parent
FOLDERS = {"seqae": ROOT / "seqae", "seqae.cli": ROOT / "cli", "seqae.datasets": ROOT / "datasets"}

# A module imports from lower floors, or from its own.
FLOORS = {
    "seqae.errors": 0,
    "seqae.columns": 1,
    "seqae.conditions": 1,
    "seqae.datasets": 1,
    "seqae.folding": 1,
    "seqae.periods": 1,
    "seqae.scaling": 1,
    "seqae.series": 1,
    "seqae.smoothing": 1,
    "seqae.stamps": 1,
    "seqae.steps": 1,
    "seqae.timeaxis": 1,
    "seqae.windows": 1,
    "seqae.nn": 2,
    "seqae.autoencoder": 3,
    "seqae.models": 3,
    "seqae.objectives": 3,
    "seqae.training": 4,
    "seqae.anomaly": 5,
    "seqae.generative": 5,
    "seqae.report": 6,
    "seqae.cli": 7,
}


def modules():
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            yield name, path


MODULES = dict(modules())


def floor(name):
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        if ".".join(parts[:k]) in FLOORS:
            return FLOORS[".".join(parts[:k])]
    raise AssertionError(f"{name} stands on no floor: add it to DESIGN's house and to this test")


def imported(name, path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "seqae"])
def test_nothing_is_imported_from_a_floor_above(name):
    for other in imported(name, MODULES[name]):
        if other.split(".")[0] in {"cli", "datasets"}:
            pytest.fail(f"{name} imports {other}: it is seqae.{other}")
        if other.startswith("seqae."):
            assert floor(other) <= floor(name), f"{name} imports {other}, which stands above it"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_of_readable_size_and_unpickled(name):
    text = MODULES[name].read_text()
    assert text.count("\n") <= 350, f"{name} is too long"
    for word in ("pickle", "torch.load(", "allow_pickle=True", "joblib"):
        assert f"import {word}" not in text
        assert word == "pickle" or word not in text
    assert MODULES[name].stem not in {"utils", "helpers", "common", "misc"}


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_sorted_and_there(name):
    module = importlib.import_module(name)
    if MODULES[name].stem in {"__init__", "__main__"} and not hasattr(module, "__all__"):
        return
    assert list(module.__all__) == sorted(module.__all__, key=_as_ruff_sorts), f"{name}.__all__ is not sorted"
    for public in module.__all__:
        assert hasattr(module, public), f"{name}.{public} is promised and missing"


def _as_ruff_sorts(name):
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name


def test_every_public_name_has_a_docstring():
    for public in seqae.__all__:
        thing = getattr(seqae, public)
        assert isinstance(thing, dict) or (thing.__doc__ or "").strip(), public
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        seqae.nothing  # noqa: B018
    assert set(seqae.__all__) <= set(dir(seqae))


def test_importing_seqae_loads_nothing_heavy():
    heavy = "{'torch', 'pandas', 'numpy', 'numba', 'sklearn', 'matplotlib', 'scipy'}"
    for statement in ("import seqae", "import seqae.cli.main", "import seqae.datasets"):
        code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "[]", f"{statement} loads {result.stdout.strip()}"


def test_reading_a_csv_needs_no_torch():
    code = "import sys, seqae; seqae.read_csv; seqae.datasets.elnino(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_every_package_is_listed_in_setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    found = (
        {"seqae"}
        | {info.name for info in pkgutil.walk_packages([str(ROOT / "seqae")], "seqae.") if info.ispkg}
        | {"seqae.cli", "seqae.cli.images", "seqae.datasets"}
    )
    assert listed == found
