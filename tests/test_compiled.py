"""The compiled recurrences against PyTorch's in float64 and against naive.py, and where they are not taken."""

import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings

import naive
import pytest
import torch
from torch import nn

from seqae.nn import compiled, recurrence
from seqae.nn.decoders import DECODERS, FEEDBACKS, RecurrentDecoder
from seqae.nn.encoders import RecurrentEncoder
from seqae.nn.recurrence import CELLS, Feedback, last, run

# (B, T, I, H): one of each, no input, H beside and at a multiple of 16, more rows than a tile and than a block
SIZES = [(1, 1, 1, 1), (1, 6, 3, 5), (3, 1, 2, 16), (5, 4, 0, 24), (6, 9, 17, 32), (37, 3, 4, 20), (33, 5, 2, 48)]


@pytest.fixture
def taken(monkeypatch):
    """Count the calls that went through the kernels."""
    calls, whole = [], compiled._run
    names = {id(kind): name for name, kind in compiled._KINDS.items()}
    monkeypatch.setattr(compiled, "_run", lambda kind, *args: (calls.append(names[id(kind)]), whole(kind, *args))[1])
    return calls


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def plain(monkeypatch):
    monkeypatch.setattr(compiled, "fits", lambda *tensors: False)


def close(mine, true, scale=1.0):
    """Float32 rounding, of sums as large as `true` becomes."""
    for a, b in zip(mine, true, strict=True):
        assert a.dtype == torch.float32
        atol = scale * 2e-6 * max(1.0, b.abs().max().item() if b.numel() else 0.0)
        torch.testing.assert_close(a, b.float(), rtol=0, atol=atol)


def layer(name, batch, steps, width, hidden, seed=0):
    torch.manual_seed(seed)
    rnn = CELLS[name].library(max(width, 1), hidden)
    inputs = torch.randn(steps, batch, width, requires_grad=True)
    states = [torch.randn(1, batch, hidden, requires_grad=True) for _ in range(CELLS[name].states)]
    return rnn, inputs, states, [torch.randn(steps, batch, hidden), *(torch.randn(batch, hidden) for _ in states)]


def own(name, rnn, inputs, states):
    """All that a layer gives: its hidden states, its last state; with no input the weight's one column is unused."""
    weight, *others = rnn.all_weights[0]
    layers = [CELLS[name].layer(weight[:, : inputs.shape[-1]], *others)]
    return CELLS[name].compiled(inputs, layers, states, len(inputs))


def library(name, rnn, inputs, states):
    double = CELLS[name].library(rnn.input_size, rnn.hidden_size).double()
    double.load_state_dict(rnn.state_dict())
    inputs = inputs.detach().double().requires_grad_()
    states = [part.detach().double().requires_grad_() for part in states]
    entering = inputs if inputs.shape[-1] else inputs.new_zeros(*inputs.shape[:-1], 1)
    hidden, state = double(entering, tuple(states) if len(states) == 2 else states[0])
    outputs = [hidden, *(part[0] for part in (state if len(states) == 2 else (state,)))]
    return outputs, [inputs, *states, *double.parameters()]


@pytest.mark.parametrize(("name", "size"), list(itertools.product(CELLS, SIZES)))
def test_a_layer_is_the_librarys_in_float64_up_to_rounding(name, size):
    rnn, inputs, states, above = layer(name, *size)
    mine, leaves = own(name, rnn, inputs, states), [inputs, *states, *rnn.parameters()]
    true, true_leaves = library(name, rnn, inputs, states)
    close(mine, true)
    # all that is given has a say in the gradient, then each for itself
    for chosen in (range(len(mine)), *([k] for k in range(len(mine)))):
        found = torch.autograd.grad(
            [mine[k] for k in chosen], leaves, [above[k] for k in chosen], retain_graph=True, materialize_grads=True
        )
        expected = torch.autograd.grad(
            [true[k] for k in chosen], true_leaves, [above[k].double() for k in chosen], retain_graph=True,
            materialize_grads=True,
        )  # fmt: skip
        close(found, expected, scale=3.0)
    with torch.no_grad():
        for a, b in zip(own(name, rnn, inputs, states), mine, strict=True):
            assert torch.equal(a, b), "what is not stored for the gradient must not change the numbers"


@pytest.mark.parametrize("name", CELLS)
def test_an_input_that_is_the_same_at_every_step_needs_no_copies(name):
    rnn, inputs, states, above = layer(name, 5, 7, 3, 20)
    once = inputs[:1].detach().requires_grad_()
    short = CELLS[name].compiled(once, [CELLS[name].layer(*rnn.all_weights[0])], states, 7)
    full = own(name, rnn, once.expand(7, -1, -1), states)
    close(short, full)
    leaves = [once, *states, *rnn.parameters()]
    close(torch.autograd.grad(short, leaves, above), torch.autograd.grad(full, leaves, above), scale=3.0)


@pytest.mark.parametrize(
    ("name", "mode", "feedback", "condition", "layers"),
    list(itertools.product(CELLS, DECODERS, FEEDBACKS, (0, 3), (1, 2, 3))),
)
def test_decoders_are_the_naive_ones(name, mode, feedback, condition, layers, taken):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        latent=3, condition=condition, hidden=20, channels=2, cell=name, decoder_type=mode, feedback=feedback,
        layers=layers,
    )  # fmt: skip
    z = torch.randn(5, 3, requires_grad=True)
    c = torch.randn(5, 6, condition) if condition else None
    weigh = torch.randn(5, 6, 2)
    fast, _ = decoder(z, 6, c)
    assert taken == [name]
    slow, _ = naive.decode(decoder, z, 6, c)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)
    leaves = [z, *decoder.parameters()]
    found = torch.autograd.grad((fast * weigh).sum(), leaves, materialize_grads=True)
    close(found, torch.autograd.grad((slow * weigh).sum(), leaves, materialize_grads=True), scale=5.0)
    with torch.no_grad():
        assert torch.equal(decoder(z, 6, c)[0], fast), "what is not stored for the gradient must not change the numbers"


@pytest.mark.parametrize("name", CELLS)
def test_a_deep_closed_loop_differentiated_twice(name):
    torch.manual_seed(0)
    cell = CELLS[name]
    rnn = cell.library(2 + 6, 6, num_layers=2)
    inputs = torch.randn(4, 3, 2, requires_grad=True)
    state = tuple(torch.randn(2, 3, 6, requires_grad=True) for _ in range(cell.states))
    weigh = torch.randn(4, 3, 6)

    def second(rnn, inputs, state):
        outputs = run(cell, rnn, inputs, state, Feedback())
        leaves = [inputs, *state, *rnn.parameters()]
        first = torch.autograd.grad((outputs * weigh.to(outputs.dtype)).sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in first), leaves)

    found = second(rnn, inputs, state)
    double = cell.library(2 + 6, 6, num_layers=2).double()
    double.load_state_dict(rnn.state_dict())
    exact = [part.detach().double().requires_grad_() for part in (inputs, *state)]
    close(found, second(double, exact[0], tuple(exact[1:])), scale=20.0)


@pytest.mark.parametrize("name", CELLS)
def test_steps_that_overlap_do_not_share_memory(name):
    """Gates are left for later steps to write over, but only once their own gradient has been taken."""
    rnn, inputs, states, above = layer(name, 5, 6, 3, 16)
    leaves = [inputs, *states, *rnn.parameters()]
    alone = []
    for scale in (1.0, 2.0, 3.0):
        compiled._SPARE.clear()
        alone.append(torch.autograd.grad(own(name, rnn, inputs * scale, states), leaves, above))
    first, second = own(name, rnn, inputs, states), own(name, rnn, inputs * 2.0, states)
    found = [torch.autograd.grad(first, leaves, above, retain_graph=True)]
    assert compiled._SPARE
    third = own(name, rnn, inputs * 3.0, states)
    found += [torch.autograd.grad(one, leaves, above) for one in (second, third, first)]
    for mine, true in zip(found, [*alone, alone[0]], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, true, strict=True))


@pytest.mark.parametrize(
    ("name", "layers", "bidirectional", "lengths"),
    list(itertools.product(CELLS, (1, 3), (False, True), (None, torch.tensor([7, 1, 4, 6])))),
)
def test_encoders_are_the_naive_ones(name, layers, bidirectional, lengths, taken):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(
        channels=2, condition=0, hidden=12, cell=name, layers=layers, bidirectional=bidirectional
    )
    x, observed = torch.randn(4, 7, 2, requires_grad=True), torch.rand(4, 7, 2) < 0.8
    fast, slow = encoder(x, observed, None, lengths), naive.encode(encoder, x, observed, None, lengths)
    assert len(taken) == (2 * layers if bidirectional else 1)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)
    leaves, weigh = [x, *encoder.parameters()], torch.randn_like(fast)
    close(torch.autograd.grad(fast, leaves, weigh), torch.autograd.grad(slow, leaves, weigh), scale=5.0)


@pytest.mark.parametrize("name", CELLS)
def test_stacked_layers_run_open_are_the_librarys(name, monkeypatch, taken):
    torch.manual_seed(0)
    rnn = CELLS[name].library(3, 20, num_layers=3)
    inputs, state = torch.randn(6, 4, 3), tuple(torch.randn(3, 4, 20) for _ in range(CELLS[name].states))
    found = run(CELLS[name], rnn, inputs, state, None)
    assert taken == [name]
    plain(monkeypatch)
    torch.testing.assert_close(found, run(CELLS[name], rnn, inputs, state, None), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_gates_that_are_far_out_saturate(name):
    rnn, inputs, states, above = layer(name, 6, 5, 3, 16)
    with torch.no_grad():
        for part in rnn.parameters():
            part.mul_(1e4)
    mine, leaves = own(name, rnn, inputs, states), [inputs, *states, *rnn.parameters()]
    true, _ = library(name, rnn, inputs, states)
    close(mine, true, scale=1e3)  # where a gate of ±1e4 happens to be near 0, its sum is rounded to 1e-3
    for found in torch.autograd.grad(mine, leaves, above):
        assert found.isfinite().all()


@pytest.mark.parametrize("name", CELLS)
def test_nan_stays_in_its_row(name):
    rnn, inputs, states, _ = layer(name, 6, 5, 3, 16)
    with torch.no_grad():
        clean = own(name, rnn, inputs, states)[0]
        inputs[2, 4] = torch.nan
        holed = own(name, rnn, inputs, states)[0]
    assert holed[2:, 4].isnan().all()
    assert torch.equal(holed[:2], clean[:2])
    others = [0, 1, 2, 3, 5]
    assert torch.equal(holed[:, others], clean[:, others])


def test_tanh_and_sigmoid_over_their_whole_range():
    """One unit whose gates are x, 1 or 0 gives h = tanh(x) and tanh(sigmoid(x))."""
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.logspace(-30, 1, 10_001), torch.tensor([0.0, 1e30, -1e38])])
    weight, far = torch.zeros(4, 1), torch.tensor([1e4, -1e4, 0.0, 1e4])
    state = [torch.zeros(1, len(x), 1), torch.zeros(1, len(x), 1)]
    weight[2] = 1.0
    cell = compiled.lstm(x[None, :, None], [compiled.Layer(weight, torch.zeros(4, 1), far)], state, 1)[2][:, 0]
    true = torch.tanh(x.double())
    assert ((cell - true).abs() <= 3e-7 * true.abs() + 1e-38).all()
    weight = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    far[0], far[2] = 0.0, 1e4
    cell = compiled.lstm(x[None, :, None], [compiled.Layer(weight, torch.zeros(4, 1), far)], state, 1)[2][:, 0]
    assert (cell - torch.sigmoid(x.double())).abs().max() < 2e-7
    assert cell.min() == 0.0
    assert cell.max() == 1.0


@pytest.mark.parametrize("name", CELLS)
def test_a_row_does_not_depend_on_the_others(name):
    rnn, inputs, states, _ = layer(name, 37, 6, 3, 32)
    with torch.no_grad():
        whole = own(name, rnn, inputs, states)
        for low, high in ((0, 1), (5, 12), (30, 37)):
            part = own(name, rnn, inputs[:, low:high], [part[:, low:high] for part in states])
            assert torch.equal(part[0], whole[0][:, low:high])


@pytest.mark.parametrize("pool", ["PyTorch's threads", "Python's"])
@pytest.mark.parametrize("name", CELLS)
def test_the_number_of_threads_changes_nothing(name, pool, threads, monkeypatch):
    if pool == "Python's":
        monkeypatch.setattr("seqae.nn.threads._together", lambda: None)
    monkeypatch.setattr(compiled, "_SHARE", 1)
    rnn, inputs, states, above = layer(name, 37, 40, 3, 32)
    leaves = [inputs, *states, *rnn.parameters()]
    found = []
    for number in (1, 1, 2, 3, 16):
        threads(number)
        mine = own(name, rnn, inputs, states)
        found.append([*mine, *torch.autograd.grad(mine, leaves, above)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_threads_of_the_caller_do_not_meet(threads, monkeypatch):
    monkeypatch.setattr(compiled, "_SHARE", 1)
    threads(2)
    rnn, inputs, states, _ = layer("lstm", 37, 40, 3, 32)
    with torch.no_grad():
        true, found = own("lstm", rnn, inputs, states)[0], []

        def work():
            with torch.no_grad():
                found.extend(own("lstm", rnn, inputs, states)[0] for _ in range(20))

        callers = [threading.Thread(target=work) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert len(found) == 80
    assert all(torch.equal(true, one) for one in found)


FORKED = """
import os, torch
from seqae.nn import compiled
torch.set_num_threads(2)
compiled._SHARE = 1
x, weight, recurrent = torch.ones(3, 8, 2), torch.ones(64, 2), torch.ones(64, 16)
arguments = (x, [compiled.Layer(weight, recurrent, torch.ones(64))], [torch.ones(1, 8, 16)] * 2, 3)
true = compiled.lstm(*arguments)[0]
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(true, compiled.lstm(*arguments)[0]) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_has_workers_of_its_own():
    result = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.strip() == "0"


@pytest.mark.parametrize("name", CELLS)
def test_differentiating_twice(name):
    rnn, inputs, states, above = layer(name, 3, 4, 2, 6)
    mine, leaves = own(name, rnn, inputs, states), [inputs, *states, *rnn.parameters()]
    true, true_leaves = library(name, rnn, inputs, states)

    def second(outputs, inner):
        weights = [part.to(outputs[0].dtype) for part in above]
        first = torch.autograd.grad(outputs, inner, weights, create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in first), inner)

    close(second(mine, leaves), second(true, true_leaves), scale=10.0)


@pytest.mark.parametrize("name", CELLS)
def test_a_graph_that_is_kept_gives_the_same_gradient_again(name):
    rnn, inputs, states, above = layer(name, 3, 4, 2, 6)
    mine, leaves = own(name, rnn, inputs, states), [inputs, *states, *rnn.parameters()]
    first = torch.autograd.grad(mine, leaves, above, retain_graph=True)
    for a, b in zip(first, torch.autograd.grad(mine, leaves, above), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", CELLS)
def test_only_what_asks_gets_a_gradient(name):
    rnn, inputs, states, _ = layer(name, 3, 4, 2, 6)
    for part in (*rnn.parameters(), *states):
        part.requires_grad_(False)
    own(name, rnn, inputs, states)[0].sum().backward()
    assert inputs.grad.any()
    assert all(part.grad is None for part in (*rnn.parameters(), *states))


class Other(torch.Tensor):
    """A tensor class of somebody else's."""


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_what_does_not_fit_goes_the_librarys_way(name, closed, taken):
    torch.manual_seed(0)
    cell = CELLS[name]
    rnn = cell.library(3 + 8 * closed, 8)
    inputs, state = torch.randn(4, 2, 3), tuple(torch.randn(1, 2, 8) for _ in range(cell.states))
    feedback = Feedback() if closed else None
    true = run(cell, rnn, inputs, state, feedback)
    assert taken == [name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not compiled.fits(inputs, *state)
    run(cell, rnn, inputs.as_subclass(Other), state, feedback)
    with torch.autograd.forward_ad.dual_level():
        run(cell, rnn, inputs, state, feedback)
    assert torch.func.vmap(lambda x: x.sum() * 0 + (not compiled.fits(x)))(inputs).all()
    double = run(cell, rnn.double(), inputs.double(), tuple(part.double() for part in state), feedback)
    torch.testing.assert_close(double.float(), true, rtol=1e-5, atol=1e-6)
    assert taken == [name], "only the first run fits"


def test_what_torch_traces_is_made_of_operators(taken):
    encoder = RecurrentEncoder(channels=1, condition=0, hidden=8, cell="lstm")
    arguments = (torch.randn(2, 5, 1), torch.ones(2, 5, 1, dtype=torch.bool), None, None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The tensor attributes")  # the library's modules do that
        exported = torch.export.export(encoder, arguments)
    assert not taken
    torch.testing.assert_close(exported.module()(*arguments), encoder(*arguments), rtol=1e-5, atol=1e-6)


def test_without_numba_the_library_does_it(monkeypatch, taken):
    monkeypatch.setattr(compiled, "_THERE", False)
    last(CELLS["gru"], nn.GRU(2, 8), torch.randn(4, 3, 2))
    assert not taken


def test_where_numba_must_not_compile_the_library_does_it():
    code = "import torch; from seqae.nn import compiled; print(compiled.fits(torch.zeros(2)))"
    for value, expected in (("1", "False"), ("0", "True")):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": value}
        told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == expected


def test_an_output_that_is_written_over_is_noticed():
    rnn, inputs, states, _ = layer("gru", 3, 4, 2, 16)
    hidden = own("gru", rnn, inputs, states)[0]
    with torch.no_grad():
        hidden.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified inplace"):
        hidden.sum().backward()


def test_recurrence_has_a_kernel_for_every_cell():
    assert all(callable(cell.compiled) for cell in recurrence.CELLS.values())
