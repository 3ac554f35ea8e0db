"""The pictures of a Detector's latent space hold the numbers that they should."""

import shlex
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import pytest

import seqae
from seqae.cli.main import run
from seqae.errors import DataError
from seqae.generative import quality
from seqae.generative.series import windows_of
from seqae.report import series_gallery
from seqae.report.series_gallery import GALLERY, Look

DRAWN = {
    "latent": "latent_scatter", "traversals": "series_traversals", "samples": "series_samples",
    "interpolation": "series_interpolation",
}  # fmt: skip


def months(rows=240, labelled=True):
    index = pd.date_range("2000-01-01", periods=rows, freq="MS", name="date")
    rng = np.random.default_rng(0)
    sst = 20 + 3 * np.cos(2 * np.pi * (index.month - 3) / 12) + 0.2 * rng.normal(size=rows)
    table = pd.DataFrame({"warmth": sst}, index=index)
    series = seqae.Series.from_frame(table, name="sea")
    labels = np.zeros(rows, dtype=bool)
    labels[100:110] = labelled
    return seqae.Series(series.values, series.channels, series.index, labels, name="sea", step=series.step)


@pytest.fixture(scope="module")
def fitted():
    options = {"window": 12, "latent": 3, "hidden": 8, "cell": "gru"}
    return {
        "CVAE": seqae.Detector(model="CVAE", **options).fit(months(), epochs=6, calibration=0, seed=0),
        "AE": seqae.Detector(model="AE", **options).fit(months(), epochs=6, calibration=0, seed=0),
    }


def drawn(what, detector, look):
    """The arguments of the figure that a picture is made by."""
    with mock.patch.object(series_gallery, DRAWN[what], return_value="figure") as figure:
        assert GALLERY[what](detector, look) == "figure"
    return figure.call_args


@pytest.mark.parametrize("model", ["CVAE", "AE"])
def test_codes_are_coloured_by_label_or_by_time(fitted, model):
    detector = fitted[model]
    call = drawn("latent", detector, Look(months()))
    codes = detector.encode(months())
    np.testing.assert_allclose(call.args[0][: len(codes)], codes[["z0", "z1", "z2"]], rtol=1e-5)
    starts = windows_of(detector, months())[1].starts
    touched = (starts < 110) & (starts + 12 > 100)
    np.testing.assert_array_equal(call.args[1], touched.astype(int))
    assert call.kwargs["axis_names"] == ["z0", "z1", "z2"]
    plain = drawn("latent", detector, Look(months(labelled=False)))
    assert plain.args[1].dtype == np.dtype("datetime64[ns]")
    assert plain.args[1][1] == np.datetime64("2000-02-01")


@pytest.mark.parametrize("model", ["CVAE", "AE"])
def test_traversals_move_one_dimension_of_the_largest_kl_first(fitted, model):
    call = drawn("traversals", fitted[model], Look(months()))
    frames, values = call.args[:2]
    assert frames.shape == (3, 9, 12, 1)
    assert values[4] == 0
    if model == "CVAE":
        assert list(call.kwargs["kl"]) == sorted(call.kwargs["kl"], reverse=True)
    else:
        assert call.kwargs["kl"] is None
    # At the walk's middle an AE is at the mean code, whichever dimension it walks along.
    if model == "AE":
        np.testing.assert_allclose(frames[0, 4], frames[1, 4], rtol=1e-5)
    assert (np.abs(frames[:, -1] - frames[:, 0]).max((1, 2)) > 1e-4).all()


def test_samples_of_a_model_that_knows_the_month_are_grouped_by_it(fitted):
    call = drawn("samples", fitted["CVAE"], Look(months(), count=36))
    groups, samples = call.kwargs["groups"], call.args[0]
    assert set(groups) == set(series_gallery.MONTHS)
    assert call.kwargs["real_groups"] == groups
    real = call.kwargs["real"]
    for name in ("Jan", "Jul"):
        own = np.array(groups) == name
        # Real windows that begin in January begin warm, those of July cold; the draws are made under that calendar.
        expected = 20 + 3 * np.cos(2 * np.pi * (series_gallery.MONTHS.index(name) + 1 - 3) / 12)
        assert np.abs(real[own][:, 0, 0] - expected).max() < 1
    assert samples.shape == real.shape


def test_an_interpolation_ends_at_the_reconstructions_of_its_windows(fitted):
    detector, series = fitted["AE"], months()
    call = drawn("interpolation", detector, Look(series, rows=(24, 150)))
    for frame, row in ((0, 24), (-1, 150)):
        window = detector.reconstruct(series[row : row + 12])["warmth_reconstructed"]
        np.testing.assert_allclose(call.args[0][frame, :, 0], window, rtol=1e-4)
    assert call.kwargs["title"] == "From the window that begins at 2002-01-01 to the one at 2012-07-01"
    ends = drawn("interpolation", detector, Look(series)).args[0]
    assert np.abs(ends[0] - ends[-1]).max() > 0.1
    with pytest.raises(DataError, match="goes between two"):
        GALLERY["interpolation"](detector, Look(series[:12]))


@pytest.mark.parametrize("what", GALLERY)
def test_a_picture_has_the_title_that_it_is_given(fitted, what):
    for series in (months(), months(labelled=False)):
        assert drawn(what, fitted["CVAE"], Look(series, count=12, title="Off Peru")).kwargs["title"] == "Off Peru"
        assert drawn(what, fitted["CVAE"], Look(series, count=12)).kwargs["title"]
    with pytest.raises(DataError, match="window=12 needs at least 12"):
        GALLERY[what](fitted["CVAE"], Look(months()[:6]))


def test_the_command_line_draws_samples_and_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    months(200, labelled=False).to_frame().to_csv("sea.csv")
    options = shlex.split("--model CVAE --window 12 --latent 2 --hidden 8 --epochs 3 --calibration 0 -q -o runs/sea")
    assert run(["train", "sea.csv", *options]) == 0
    for what in GALLERY:
        assert run(["plot", "runs/sea", "sea.csv", "--what", what, "--dpi", "50", "-o", f"{what}.png"]) == 0
        assert (tmp_path / f"{what}.png").read_bytes().startswith(b"\x89PNG")
    assert run(["sample", "runs/sea", "--start", "2031-05-01", "--steps", "3", "-o", "new.csv"]) == 0
    assert list(pd.read_csv("new.csv").iloc[:, 2]) == ["2031-05-01", "2031-06-01", "2031-07-01"]
    assert run(["sample", "runs/sea", "sea.csv", "--near", "-n", "2", "-o", "near.csv"]) == 0
    near = pd.read_csv("near.csv")
    assert len(near) == 2 * 16 * 12
    assert run(["train", "near.csv", "--id", "sample", "--no-time", "--drop", "date,step", "--model", "VAE",
                "--epochs", "1", "--window", "12", "--calibration", "0", "-q", "-o", "runs/near"]) == 0  # fmt: skip
    capsys.readouterr()
    quick = partial(quality.generation_report, iterations=5, repeats=2)
    monkeypatch.setattr("seqae.cli.evaluate_model.generation_report", quick)
    assert run(["evaluate-model", "runs/sea", "sea.csv", "--samples", "1,4", "--drawn", "30"]) == 0
    told = capsys.readouterr().out
    for words in ("ELBO", "bound, k = 4", "Doctor", "told apart", "30 drawn windows"):
        assert words in told
    for arguments, words in (
        (["sample", "runs/sea", "--near"], "no DATA is named"),
        (["sample", "runs/sea", "sea.csv", "--near", "--start", "2030-01-01"], "Leave it alone"),
        (["evaluate-model", "runs/sea", "sea.csv", "--samples", "3,10"], "divide the largest"),
        (["evaluate-model", "runs/sea", "sea.csv", "--samples", "a"], "no list of numbers"),
        (["sample", "runs/sea", "--start", "yesterday"], "yesterday"),
    ):
        assert run(arguments) == 2
        line = capsys.readouterr().err
        assert words in line
        assert line.count("\n") == 1
