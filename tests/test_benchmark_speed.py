"""The speed benchmark: what is timed side by side is the same, the floor counts what must be multiplied, bars judge."""

import importlib
import sys
from pathlib import Path
from unittest import mock

import naive
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import seqae
from seqae.nn import compiled
from seqae.nn.decoders import DECODERS, RecurrentDecoder
from seqae.windows import Batch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
STEPS = 7


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {name: importlib.import_module(name) for name in ("around", "growth", "memory", "rivals", "speed")}
    finally:
        sys.path.remove(str(BENCHMARKS))


def decoder_of(cell, mode, layers=1, feedback="hidden", hidden=16, latent=5, channels=3):
    torch.manual_seed(0)
    return RecurrentDecoder(
        latent=latent, condition=0, hidden=hidden, channels=channels, cell=cell, decoder_type=mode, layers=layers,
        feedback=feedback,
    )  # fmt: skip


@pytest.mark.parametrize("feedback", ["hidden", "output"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("mode", DECODERS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_loop_is_the_decoder(modules, cell, mode, layers, feedback):
    decoder, z = decoder_of(cell, mode, layers, feedback), torch.randn(4, 5)
    with torch.no_grad():
        found, truth = modules["rivals"].looped(decoder, z, STEPS), naive.decode(decoder, z, STEPS)[0]
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)
        torch.testing.assert_close(found, decoder(z, STEPS)[0], rtol=0, atol=1e-6)
        if layers == 1 and mode == "repeat_latent":
            torch.testing.assert_close(
                modules["rivals"].opened(decoder, decoder.rnn, z, STEPS), truth, rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("mode", DECODERS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_usual_model_has_the_same_loss_and_gradients(modules, cell, mode):
    torch.manual_seed(0)
    model = seqae.VAE(channels=2, latent=3, hidden=16, cell=cell, decoder_type=mode)
    usual, x = modules["rivals"].Usual(model), torch.randn(5, STEPS, 2)
    batch = Batch(x, torch.ones_like(x, dtype=torch.bool))
    loss = seqae.Objective()(model, batch, epoch=0.0, generator=torch.Generator().manual_seed(1)).total
    other = usual.loss(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(other, loss, rtol=1e-6, atol=0)
    loss.backward()
    other.backward()
    pairs = (
        (model.encoder.rnn, usual.encoder), (model.latent.mean, usual.mean), (model.latent.log_var, usual.log_var),
        (model.decoder, usual.decoder),
    )  # fmt: skip
    for ours, theirs in pairs:
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.likelihood.log_scale.grad, usual.log_scale.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_both_training_steps_go_the_same_way(modules, cell):
    ours, usual = modules["growth"].training_step(torch.device("cpu"), cell=cell, batch=4, steps=9, hidden=16)
    losses = torch.stack([torch.stack([ours(), usual()]) for _ in range(6)])
    torch.testing.assert_close(losses[:, 0], losses[:, 1], rtol=1e-4, atol=0)
    assert losses[0, 0] != losses[1, 0]


def test_the_floor_counts_the_products_that_are_left_when_the_loop_is_merged(modules):
    speed = modules["speed"]
    decoder = decoder_of("gru", "output_as_input", hidden=16, latent=speed.LATENT, channels=speed.CHANNELS)
    with (
        torch.no_grad(),
        mock.patch.object(compiled, "fits", return_value=False),
        FlopCounterMode(display=False) as counter,
    ):
        decoder(torch.randn(3, speed.LATENT), STEPS)
    assert speed.products("gru", 3, STEPS, 16, latent=False, output=True) == counter.get_total_flops()


@pytest.mark.parametrize("mode", DECODERS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_floor_counts_one_multiplication_after_the_other(modules, cell, mode):
    speed, wiring, (batch, hidden) = modules["speed"], DECODERS[mode], (2, 3)
    gates, states = {"gru": (3, 1), "lstm": (4, 2)}[cell]
    count = 0
    for _ in range(batch):
        count += states * hidden * speed.LATENT  # the initial states
        if wiring.latent:
            count += gates * hidden * speed.LATENT
        for _ in range(STEPS):
            rows = gates + (1 if cell == "gru" and wiring.output else 0)  # the candidate's own part of what is fed back
            count += rows * hidden * hidden + speed.CHANNELS * hidden
    found = speed.products(cell, batch, STEPS, hidden, latent=wiring.latent, output=wiring.output)
    assert found == 2 * count


def test_a_bar_is_met_by_the_worst_and_names_it(modules):
    bar, ratios = modules["speed"].bar, {"here": 1.2, "there": 3.0}
    assert "bar met; the worst is 1.20 (here)" in bar("fast", ratios, least=1.2)
    assert "bar not met (1 of 2 keep it); the worst is 1.20 (here)" in bar("fast", ratios, least=2.0)
    assert "bar met; the worst is 3.00 (there)" in bar("short", ratios, most=3.0)
    assert "bar not met (1 of 2 keep it); the worst is 3.00 (there)" in bar("short", ratios, most=2.0)


def test_ways_that_differ_are_not_timed(modules):
    agree, one = modules["rivals"].agree, torch.tensor([1.0, 100.0])
    agree("same", [one], [one + 5e-4], 1e-5)
    for other in (one + 5e-3, torch.tensor([1.0, torch.nan])):
        with pytest.raises(ArithmeticError, match="two ways are"):
            agree("other", [one], [other], 1e-5)


def test_without_kernels_none_is_called_and_the_result_is_the_same(modules):
    decoder, z = decoder_of("gru", "concat_output_latent"), torch.randn(4, 5)
    with torch.no_grad():
        truth = decoder(z, STEPS)[0]
        with mock.patch.object(compiled, "_forward", side_effect=AssertionError):
            found = modules["rivals"].without_kernels(lambda: decoder(z, STEPS)[0])()
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-6)


def test_works_are_timed_in_turn_after_each_was_done_once(modules):
    done = []
    clock = modules["speed"].Clock(0.0, 3, torch.device("cpu"))
    times = clock(lambda: done.append("a"), lambda: done.append("b"))
    assert "".join(done) == "ab" * 4
    assert len(times) == 2
    assert all(time > 0 for time in times)


def test_the_slope_is_the_exponent_of_a_power(modules):
    sizes = [16, 32, 64, 128, 256]
    assert modules["growth"].slope(sizes, [3.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)


def test_packages_that_are_not_there_are_named_and_failures_have_their_line(modules, monkeypatch):
    rivals = modules["rivals"]
    kept = {"seqae, lstm": rivals.RIVALS["seqae, lstm"], "PyNone": rivals.Rival("no_such_package", None, {})}
    monkeypatch.setattr(rivals, "RIVALS", kept)
    found = {"windows": 10, "parameters": 5, "training": 20.0, "scoring": 40.0, "peak": 1.0, "before": 1.0}
    answers = iter([found, "it failed"])
    monkeypatch.setattr(rivals, "apart", lambda *how: next(answers))
    lines = list(rivals.table([1, 2], quick=True))
    assert "| seqae, lstm | 1 | 1 | 5 | 10 | 20 | 1.0 | 40 | 1.0 | 1 | 1 |" in lines
    assert "| seqae, lstm | 1 | 2 | it failed |" in lines
    assert lines[-1].endswith("left out: PyNone.")


def test_rivals_are_measured_in_turn_and_have_their_medians(modules, monkeypatch):
    asked, speeds = [], iter([1.0, "it failed", 5.0, 2.0])

    def apart(name, *how):
        asked.append(name)
        speed = next(speeds)
        return speed if isinstance(speed, str) else {"training": speed}

    monkeypatch.setattr(modules["rivals"], "apart", apart)
    assert modules["rivals"].in_turn(["a", "b"], 3, 1, 1, 10) == {"a": {"training": 2.0}, "b": "it failed"}
    assert asked == ["a", "b", "a", "a"]


def test_a_detector_is_measured_by_what_it_was_given(modules):
    found = modules["rivals"].measure("seqae, gru", 1, 1, 200)
    model = seqae.AE(channels=1, latent=modules["rivals"].LATENT, hidden=64, cell="gru")
    assert found["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert found["windows"] == 200
    assert 0 < found["before"] <= found["peak"]


def test_the_series_of_the_memory_benchmark_is_the_same_in_blocks(modules):
    memory = modules["memory"]
    whole = memory.values(0, memory.BLOCK + 100)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[memory.BLOCK :], memory.values(memory.BLOCK, memory.BLOCK + 100))


def test_what_stands_around_a_model_is_measured_on_what_the_rows_say(modules, monkeypatch):
    around = modules["around"]
    monkeypatch.setattr(around, "LENGTHS", (4000,))
    monkeypatch.setattr(around, "TABLES", ((300, 2),))
    assert list(around.measuring())[2].startswith("| 4,000 | 2 | ")
    assert list(around.reading())[2].startswith("| 300 | 2 | 0.0 | ")
    order = []
    taken = modules["speed"].Clock(0.0, 2, torch.device("cpu"))(lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b"] * 3
    assert len(taken) == 2
