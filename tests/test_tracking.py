"""What trackers write and show, read back with the tools that people read it with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqae.models import VAE
from seqae.training.tracking import History, JsonLines, Progress, Run, Sums, TensorBoard, Tracker
from seqae.windows import WindowSet

RECORDS = [
    {"epoch": 1, "train_total": 3.5, "train_per_value": 0.5, "validation_per_value": 0.75, "learning_rate": 0.1 + 0.2},
    {"epoch": 2, "train_total": 2.5, "train_per_value": 0.25, "validation_per_value": 0.5, "learning_rate": 0.3},
]


def windows(length=40):
    values = np.random.default_rng(0).normal(size=(length, 2)).astype(np.float32)
    values[3] = np.nan
    return WindowSet([values], window=8)


def run(**changes):
    torch.manual_seed(0)
    model = VAE(channels=2, latent=3, hidden=4)
    return Run(**{"model": model, "shown": windows(), "epochs": 4, "windows": 10, **changes})


# Sums


def terms(total, windows, values):
    parts = {"reconstruction": torch.tensor(total - 1.0), "kl": torch.tensor(1.0), "values": torch.tensor(values)}
    return SimpleNamespace(total=torch.tensor(total, requires_grad=True), windows=windows, **parts)


def test_sums_weigh_batches_by_their_windows():
    sums = Sums(torch.device("cpu"))
    batches = [(3.0, 4, 20), (5.0, 4, 24), (7.0, 1, 2)]
    for batch in batches:
        sums.add(terms(*batch), torch.tensor(1e6))
    total = sum(total * n for total, n, _ in batches)
    assert sums.record("train") == pytest.approx(
        {
            "train_total": total / 9,
            "train_reconstruction": total / 9 - 1,
            "train_kl": 1.0,
            "train_per_value": total / 46,
        }
    )
    assert sums.per_value() == pytest.approx(total / 46)
    assert sums.finite()


@pytest.mark.parametrize(
    ("total", "norm"), [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan")), (1.0, float("inf"))]
)
def test_sums_notice_what_is_not_finite_and_do_not_forget_it(total, norm):
    sums = Sums(torch.device("cpu"))
    sums.add(terms(total, 4, 20), torch.tensor(norm))
    sums.add(terms(1.0, 4, 20), torch.tensor(1.0))
    assert not sums.finite()


def test_sums_of_many_small_losses_stay_exact():
    sums = Sums(torch.device("cpu"))
    for _ in range(5_000):
        sums.add(terms(0.1, 1, 1))
    assert sums.record("x")["x_total"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


# Trackers


def test_a_tracker_may_leave_out_what_it_does_not_care_for():
    class Counter(Tracker):
        epochs = 0

        def epoch(self, record):
            self.epochs += 1

    counter = Counter()
    counter.start(run())
    counter.step(1, 5, 0.1)
    counter.epoch(RECORDS[0])
    counter.finish(History(RECORDS, 2, "finished", 1.0))
    assert counter.epochs == 1


def test_history_is_json_and_knows_its_best():
    history = History(RECORDS, 2, "early", 1.5)
    assert history.best is RECORDS[1]
    assert History([], 0, "time", 0.0).best == {}
    document = {"epochs": RECORDS, "best_epoch": 2, "stopped": "early", "seconds": 1.5}
    assert json.loads(json.dumps(history.to_document())) == document


def test_json_lines_are_one_record_a_line_and_go_on_where_the_run_does(tmp_path):
    path = tmp_path / "metrics.jsonl"

    def lines():
        return [json.loads(line) for line in path.read_text().splitlines()]

    first = JsonLines(path)
    first.start(run())
    for record in RECORDS:
        first.epoch(record)
    assert lines() == RECORDS
    second = JsonLines(path)
    second.start(run(history=RECORDS[:1]))  # the second epoch was written here, but not to the resume file
    assert lines() == RECORDS[:1]
    second.epoch({**RECORDS[1], "train_total": 2.25})
    assert [record["train_total"] for record in lines()] == [3.5, 2.25]


def test_the_bar_is_on_stderr_and_says_what_people_want_to_know(capsys, monkeypatch):
    monkeypatch.setattr("seqae.training.tracking.REDRAW_SECONDS", (0.0, 0.0))
    bar = Progress()
    bar.start(run())
    bar.step(1, 4, 1.25)
    bar.epoch(RECORDS[0])
    bar.step(2, 5, 0.125)
    bar.finish(History(RECORDS[:1], 1, "interrupted", 1.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = [part.strip() for part in captured.err.split("\r") if part.strip()]
    assert any(re.match(r"epoch 1/4 +10%.*windows/s, \d\d:\d\d left, 1\.2500 nats per value$", part) for part in shown)
    assert any("0.5000 nats per value (0.7500 in validation)" in part for part in shown)
    assert re.match(r"epoch 2/4 +38%", shown[-1])
    assert "0.1250 nats per value" in shown[-1]


def test_the_bar_of_a_resumed_run_starts_where_it_goes_on(capsys):
    bar = Progress()
    bar.start(run(history=RECORDS))
    bar.finish(History(RECORDS, 2, "interrupted", 1.0))
    assert re.match(r"\s*epoch 2/4 +50%", capsys.readouterr().err)


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def test_tensorboard_shows_scalars_pictures_latents_and_hyperparameters(tmp_path):
    from PIL import Image
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    given = run(hyperparameters={"learning_rate": 0.01, "clip": None, "objective": {"Objective": {"beta": 1.0}}})
    board = TensorBoard(tmp_path, every=2, pictures=3, points=7)
    board.start(given)
    given.model.train()
    for record in RECORDS:
        board.epoch(record)
    assert given.model.training
    board.finish(History(RECORDS, 2, "finished", 1.0))

    found = events(tmp_path)
    scalars = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars["total/train"] == [(1, 3.5), (2, 2.5)]
    assert scalars["per_value/validation"] == [(1, 0.75), (2, 0.5)]
    assert dict(scalars["run/learning_rate"]) == pytest.approx({1: 0.3, 2: 0.3})
    assert scalars["best/validation_per_value"] == [(2, 0.5)]

    assert set(found.Tags()["images"]) == {"reconstruction/training", "reconstruction/best"}
    (tmp_path / "x.png").write_bytes(found.Images("reconstruction/best")[0].encoded_image_string)
    picture = np.asarray(Image.open(tmp_path / "x.png"))
    assert picture.shape == (3 * 128, 2 * 320, 3)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90)
    thirds = red.reshape(3, 128, 2, 320).sum((1, 3))
    assert (thirds > 50).all(), "a panel has no reconstruction in it"

    latents = np.loadtxt(tmp_path / "00002" / "best" / "tensors.tsv")
    index = np.linspace(0, len(given.shown) - 1, 7).round().astype(int)
    with torch.no_grad():
        expected = given.model.encode(*given.shown.gather(torch.from_numpy(index)))
    np.testing.assert_allclose(latents, expected, atol=1e-6)
    assert np.loadtxt(tmp_path / "00002" / "best" / "metadata.tsv").tolist() == index.tolist()

    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["learning_rate"].number_value == 0.01
    assert hparams["clip"].string_value == "null"
    assert json.loads(hparams["objective"].string_value) == {"Objective": {"beta": 1.0}}


def test_tensorboard_hides_what_an_earlier_run_wrote_later(tmp_path, capsys):
    for total in (9.0, 1.0):
        board = TensorBoard(tmp_path, every=1)
        board.start(run(history=RECORDS[:1]))
        board.epoch({"epoch": 2, "train_total": total})
        board.finish(History(RECORDS, 2, "failed", 1.0))
    assert [event.value for event in events(tmp_path).Scalars("total/train")] == [1.0]
    assert capsys.readouterr().out == "", "stdout belongs to results"


def test_tensorboard_does_without_pictures_where_the_model_has_none(tmp_path):
    board = TensorBoard(tmp_path, every=1)
    board.start(run(model=torch.nn.Linear(1, 1)))
    board.epoch(RECORDS[0])
    board.finish(History(RECORDS[:1], 1, "finished", 1.0))
    assert events(tmp_path).Tags()["images"] == []


@pytest.mark.slow
def test_what_only_tensorboard_needs_is_loaded_only_for_it():
    code = "import sys, seqae.training; print(sorted({'tensorboard', 'matplotlib'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
