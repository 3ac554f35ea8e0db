"""The worked examples: every notebook runs, its page is what is made of it, and its command lines are commands."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import tempfile
from pathlib import Path

import click
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from seqae.cli.command import Session

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "examples"
DATA = Path(os.environ.get("SEQAE_DATA", ROOT.parent / "shared" / "data"))
MEGABYTES = 2
NEEDS = {
    "sequences": (), "mnist-plane": ("mnist",), "denoising": ("mnist",), "beta-vae": ("fashion_mnist",),
    "conv-cifar10": ("cifar10",), "one-class": ("mnist",),
}  # fmt: skip


def imported():
    """The maker of the pages, under another name than that of the package that builds wheels."""
    spec = importlib.util.spec_from_file_location("examples_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = imported()


def written(name):
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def kinds(outputs):
    """What each code cell gave, in order: picture, table or text."""
    marks = {"!": "picture", "|": "table", "`": "text"}
    return [[marks[part[0]] for part in output.split("\n\n") if part[:1] in marks] for output in outputs]


def kind(value):
    return "picture" if isinstance(value, build.Figure) else "table" if isinstance(value, pd.DataFrame) else "text"


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("SEQAE_SMALL", "1")
    monkeypatch.setenv("SEQAE_DATA", str(DATA))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    plt.ioff()


def test_every_example_is_listed():
    assert tuple(NEEDS) == build.NAMES
    assert {file.stem for file in FOLDER.glob("*.ipynb")} == set(build.NAMES)
    assert {file.stem for file in FOLDER.glob("*.md")} == {*build.NAMES, "README"}
    linked = re.findall(r"\]\((.*?)\.md\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert linked == list(build.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_runs_and_gives_what_its_page_shows(name, small):
    missing = [one for one in NEEDS[name] if not (DATA / one).is_dir()]
    if missing:
        pytest.skip(f"no {missing[0]} under SEQAE_DATA")
    shown = [[kind(value) for value in values] for values in build.execute(name)]
    # A text with an empty line in it is one text.
    on_page = [[one for n, one in enumerate(given) if not (one == "text" and n and given[n - 1] == "text")]
               for given in kinds(build.kept(name)[:-1])]  # fmt: skip
    assert shown == on_page


@pytest.mark.parametrize("name", NEEDS)
def test_a_page_has_its_notebooks_prose_and_code(name):
    assert build.plain(written(name)) == build.page(name, [""] * len(build.read(name)))
    assert build.page(name, build.kept(name)) == written(name)


@pytest.mark.parametrize("name", NEEDS)
def test_a_notebook_is_kept_without_outputs(name):
    document = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    cells = document["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        else:
            assert build.BEGIN not in "".join(cell["source"])


def test_the_pages_and_the_pictures_name_each_other_and_are_small():
    shown = [file for name in NEEDS for file in re.findall(r"^!\[.*\]\((.*)\)$", written(name), re.MULTILINE)]
    assert sorted(shown) == sorted(file.name for file in FOLDER.glob("*.png"))
    assert len(shown) >= 5 * len(NEEDS)
    assert sum((FOLDER / file).stat().st_size for file in shown) < MEGABYTES * 2**20


@pytest.mark.parametrize("name", NEEDS)
def test_a_page_says_how_long_its_run_took(name):
    assert re.fullmatch(r"\*Executed on \d{4}-\d\d-\d\d in \d+ s on \d+ threads? of a CPU: .*\*", build.kept(name)[-1])


# ---- what the prose claims, held against the tables of the page ----


def tables(name):
    """The tables of a page, numbers as floats, – and text as NaN and str."""
    found = []
    for output in build.kept(name):
        if output.startswith("| "):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines()]
            frame = pd.DataFrame([row[1:] for row in rows[2:]], columns=rows[0][1:], index=[row[0] for row in rows[2:]])
            found.append(frame.replace("–", None).apply(lambda column: pd.to_numeric(column, errors="coerce")))
    return found


def test_on_the_page_of_sequences_all_six_decoders_train_and_use_their_latent():
    three, modes = tables("sequences")
    assert (three["log p(x) ≥"] > three["ELBO"])[["VAE", "CVAE"]].all()
    assert three.loc["AE", ["KL", "ELBO", "log p(x) ≥"]].isna().all()
    assert three["ELBO"]["CVAE"] > three["ELBO"]["VAE"]
    assert len(modes) == 6
    assert (modes["active dimensions"] > 0).all()
    assert (modes["KL"] > 1).all()
    assert (modes["squared error"] < 0.15).all()


def test_on_the_page_of_the_plane_the_autoencoder_is_closer_and_emptier():
    errors, _ = tables("mnist-plane")
    assert errors["squared error"]["AE"] < errors["squared error"]["VAE"]
    assert errors["−ELBO"]["VAE"] == pytest.approx(errors["cross-entropy"]["VAE"] + errors["KL"]["VAE"], abs=0.1)
    empty = {row: float(share) for row, share in re.findall(r"\| (AE|VAE) .* (\d+)% \|", written("mnist-plane"))}
    off = {row: float(far) for row, far in re.findall(r"\| (AE|VAE) .*% \| ([\d.]+) \|", written("mnist-plane"))}
    assert empty["AE"] > empty["VAE"]
    assert off["AE"] > off["VAE"] > 1


def test_on_the_page_of_denoising_each_is_best_at_its_own_noise():
    clean, noisy = tables("denoising")
    assert clean.idxmin().drop(["epochs", "seconds"]).eq("simple AE").all()
    masking, gaussian = noisy.loc["masking 0.2"], noisy.loc["gaussian 0.5"]
    assert masking["DAE, masking"] == masking.min() < masking["before"] < masking["simple AE"]
    assert gaussian["DAE, gaussian"] == gaussian.min()


def test_on_the_page_of_beta_the_price_rises():
    measured, by_factor, price = tables("beta-vae")
    for table in (measured, price):
        assert table["reconstruction"].is_monotonic_increasing
        assert table["KL"].is_monotonic_decreasing
    assert measured["MIG"].is_monotonic_increasing
    assert measured["active dimensions"]["β = 10"] == 3
    assert by_factor["informativeness"]["rotation"] <= by_factor["chance"]["rotation"]
    assert by_factor["mig"][["scale", "x", "y"]].min() > 0.4


def test_on_the_page_of_cifar10_a_learned_sigma_is_better():
    plain, learned = tables("conv-cifar10")
    assert "has 588 parameters" in written("conv-cifar10")
    assert plain["KL"]["B-VAE"] < plain["KL"]["VAE"]
    assert plain["bits per dimension"].isna().all()
    assert learned["squared error"].idxmax() == "normal_fixed, σ = 1"
    assert learned["bits per dimension"].dropna().index.tolist() == ["discretized_logistic"]
    bits = learned.loc["discretized_logistic", "−ELBO"] / 3072 / 0.693147
    assert learned["bits per dimension"]["discretized_logistic"] == pytest.approx(bits, abs=0.02)
    sigma, error = map(float, re.findall(r"σ = ([\d.]+); .*: ([\d.]+)", written("conv-cifar10"))[0])
    assert error < sigma < 1
    assert error**2 == pytest.approx(learned["squared error"]["normal_shared"], rel=0.02)


def test_on_the_page_of_one_class_the_hardest_digits_differ():
    aurocs = tables("one-class")[0]
    assert aurocs["autoencoder"].idxmin() != aurocs["mean image"].idxmin()
    assert aurocs["autoencoder"].idxmax() == "1"
    assert (aurocs["autoencoder"] > aurocs["mean image"]).all()


# ---- command lines ----


def lines(name):
    first = build.read(name)[0].text
    return [line.removeprefix("$ ") for line in first.splitlines() if line.startswith("$ ")]


def parsed(name, line):
    """The options that a command line means: those of the command for images, but for series on the first page."""
    program, command, *arguments = shlex.split(line)
    assert program == "seqae"
    package = "seqae.cli" if name == "sequences" or command == "evaluate" else "seqae.cli.images"
    found: click.Command = importlib.import_module(f"{package}.{command.replace('-', '_')}").command
    return found.make_context(command, list(arguments), obj=Session()).params


@pytest.mark.parametrize("name", NEEDS)
def test_a_page_begins_with_the_command_line(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = lines(name)
    assert found
    assert found[0].startswith("seqae train ")
    for line in found:
        if not line.startswith("tensorboard "):
            parsed(name, line)


def test_the_settings_file_means_what_its_page_says(monkeypatch):
    monkeypatch.chdir(ROOT)
    plain, heavy = (parsed("conv-cifar10", line) for line in lines("conv-cifar10")[:2])
    assert (plain["model"], plain["beta"]) == ("VAE", 1.0)
    assert (heavy["model"], heavy["beta"]) == ("B-VAE", 4.0)
    assert (plain["data"], plain["body"], plain["latent"], plain["epochs"]) == ("cifar10", "conv", 64, 8)
    assert plain["conv_channels"] == [12, 24, 48]
    assert plain["conv_kernel_sizes"] == [[4, 4]] * 3


def test_the_command_lines_train_what_the_notebooks_train():
    plane = parsed("mnist-plane", lines("mnist-plane")[0])
    assert (plane["body"], plane["mlp_hidden"], plane["latent"], plane["epochs"]) == ("mlp", [512], 2, 10)
    denoising = parsed("denoising", lines("denoising")[0])
    assert (denoising["binarise"], denoising["mlp_hidden"], denoising["latent"]) == ("threshold", [64], 64)
    assert (denoising["learning_rate"], denoising["epochs"]) == (0.003, 10)
    one = parsed("one-class", lines("one-class")[0])
    assert (one["classes"], one["latent"], one["score"], one["epochs"]) == (("3",), 32, "squared_error", 12)
    beta = parsed("beta-vae", lines("beta-vae")[0])
    assert (beta["model"], beta["mlp_hidden"], beta["latent"], beta["epochs"]) == ("B-VAE", [400], 10, 6)


# ---- the maker of the pages ----


def test_a_table_has_aligned_digits_and_no_broken_cells():
    frame = pd.DataFrame({"a|b": [0.5, 0.25, None], "n": [1, 2, 3], "s": ["x", None, "1%"]}, index=["p", "q|r", "s"])
    frame["single"] = pd.Series([0.1, 2.0, 3.0], index=frame.index, dtype="float32")
    assert build.table(frame).splitlines() == [
        "|  | a∣b | n | s | single |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| p | 0.50 | 1 | x | 0.1 |",
        "| q∣r | 0.25 | 2 | – | 2.0 |",
        "| s | – | 3 | 1% | 3.0 |",
    ]


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """A notebook of one's own, in a folder of its own."""
    monkeypatch.setattr(build, "FOLDER", tmp_path)

    def write(*cells):
        made = [{"cell_type": kind, "source": text.splitlines(keepends=True)} for kind, text in cells]
        (tmp_path / "own.ipynb").write_text(json.dumps({"cells": made}), encoding="utf-8")

    return write


def test_cells_share_a_namespace_and_give_what_they_print_and_end_with(notebook):
    here = "from pathlib import Path\nPath('own.ipynb').is_file()"
    notebook(
        ("markdown", "# Title"), ("code", "a = 2\nprint('one')\nprint('two')"), ("code", "b = a + 1\nb"),
        ("code", "print(a)\n'text'"), ("code", here), ("code", "None"),
    )  # fmt: skip
    assert list(build.execute("own")) == [["one\ntwo\n"], [3], ["2\n", "'text'"], [True], []]


def test_a_failing_cell_says_where(notebook):
    notebook(("markdown", "# Title"), ("code", "x = 1\nx / 0"))
    with pytest.raises(ZeroDivisionError) as failed:
        list(build.execute("own"))
    assert "own.ipynb, cell 2" in {Path(str(entry.path)).name for entry in failed.traceback}


def test_new_prose_keeps_outputs_and_new_code_does_not(notebook, tmp_path):
    notebook(("markdown", "# Title"), ("code", "print(1)\n\nprint(2)"), ("code", "y = 1"), ("markdown", "End"))
    outputs = build.written("own")
    assert outputs[:2] == ["```text\n1\n2\n```", ""]
    (tmp_path / "own.md").write_text(build.page("own", outputs), encoding="utf-8")
    notebook(("markdown", "# Another"), ("code", "print(1)\n\nprint(2)"), ("code", "y = 1"), ("markdown", "The end"))
    assert build.kept("own") == outputs
    assert build.page("own", outputs).count("The end") == 1
    notebook(("markdown", "# Another"), ("code", "print(1)\n\nprint(2)"), ("code", "y = 2"), ("markdown", "The end"))
    with pytest.raises(ValueError, match="is not that of"):
        build.kept("own")
