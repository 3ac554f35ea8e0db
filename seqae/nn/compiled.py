"""LSTM and GRU layers on the CPU in float32: a whole stack of them, all its steps, in one call of a compiled kernel.

The steps run in `kernels.py`. The batch's rows, and the columns of a weight's gradient, which is one product over all
steps, are shared out to torch.get_num_threads() threads: how many there are changes no bit of the results. How much
that saves beside the library is in benchmarks/results. What the kernels need to be compiled is paid once per
installation, some seconds a cell at its first use.
"""

from __future__ import annotations

__all__ = ["Layer", "fits", "gru", "lstm"]

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqae.nn import threads
from seqae.nn.twice import differentiable, gru_step, lstm_step

_LANES = 16
_THERE = importlib.util.find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
_ROWS = 32
"""Rows of the batch that are taken through the steps together: their gates stay in the nearest cache."""
_SHARE = 1_000_000
"""Multiplications that are worth another thread."""
_SPARES = 8
_SPARE: list[Tensor] = []
_LOCK = Lock()
"""Memory of gates that training steps have done with."""


class Layer(NamedTuple):
    """A layer's weights: of what enters it (G, I), of its own hidden state (R, H), and bias (4H,); see lstm and gru."""

    weight: Tensor
    recurrent: Tensor
    bias: Tensor


def fits(*tensors: Tensor) -> bool:
    """Whether these go through the compiled kernels; whatever does not takes PyTorch's own way.

    Not: another device or dtype; autocast, which would have lower precision; while torch.compile, torch.export or
    torch.jit trace, which see operators only; under torch.func's transforms, in forward-mode differentiation and for
    tensors of other classes (FakeTensor, DTensor), which an autograd.Function would not go through; without numba, or
    where NUMBA_DISABLE_JIT keeps it from compiling.
    """
    for part in tensors:
        plain = (type(part) is nn.Parameter or type(part) is Tensor) and part.layout is torch.strided
        if part.dtype is not torch.float32 or not part.is_cpu or not plain:
            return False
    return (
        _THERE
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def lstm(
    x: Tensor, layers: Sequence[Layer], state: Sequence[Tensor], steps: int, fed: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the top layer's hidden states (T, B, H) and its last hidden and cell state (B, H).

    x: (T, B, I), or (1, B, I) for what is the same at every step. layers: from the lowest, rows of weights in the
    library's order, G = R = 4H. state: the initial hidden and cell states (L, B, H). fed: (4H, H), what the lowest
    layer makes of the top layer's hidden state of the step before.
    """
    return _run(_KINDS["lstm"], x, layers, state, steps, fed)


def gru(
    x: Tensor, layers: Sequence[Layer], state: Sequence[Tensor], steps: int, fed: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the top layer's hidden states (T, B, H) and its last one (B, H).

    Rows in the order n, r, z: weight (3H, I) and fed (3H, H). r, z, q: recurrent (3H, H), or n, r, z, q: (4H, H) where
    the candidate has an ungated recurrent part. n, r, z, q: bias (4H,). q is what r multiplies; see recurrence.py. The
    rest as for `lstm`.
    """
    return _run(_KINDS["gru"], x, layers, state, steps, fed)


def _run(
    kind: _Kind, x: Tensor, layers: Sequence[Layer], state: Sequence[Tensor], steps: int, fed: Tensor | None
) -> tuple[Tensor, ...]:
    size = layers[0].recurrent.shape[1]
    more = -size % _LANES
    if more:  # what is added to H stays 0 at every step
        layers = [_widened(layer, size, more, number > 0) for number, layer in enumerate(layers)]
        state = [nn.functional.pad(part, (0, more)) for part in state]
        fed = None if fed is None else _rows(nn.functional.pad(fed, (0, more)), size, more)
    tensors = [*(part for layer in layers for part in layer), *state]
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, fed, *tensors)):
        found = _Recurrence.apply(kind, len(layers), steps, x, fed, *tensors)
    else:
        with torch.no_grad():
            found = _forward(kind, len(layers), steps, x, fed, tensors, kept=False)[0]
    return tuple(part[..., :size] for part in found) if more else found


def _widened(layer: Layer, size: int, more: int, within: bool) -> Layer:
    weight, recurrent, bias = layer
    weight = nn.functional.pad(weight, (0, more)) if within else weight
    recurrent = nn.functional.pad(recurrent, (0, more))
    return Layer(_rows(weight, size, more), _rows(recurrent, size, more), _rows(bias, size, more))


def _rows(part: Tensor, size: int, more: int) -> Tensor:
    """Put `more` rows of zeros behind every `size` rows."""
    gates = part.unflatten(0, (-1, size))
    return nn.functional.pad(gates, (0, 0) * (part.ndim - 1) + (0, more)).flatten(0, 1)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: _Kind, layers: int, steps: int, x: Tensor, fed: Tensor | None, *tensors: Tensor) -> Any:
        results, (hidden, *kept) = _forward(kind, layers, steps, x, fed, tensors, kept=True)
        ctx.save_for_backward(x, fed, *tensors, hidden)
        ctx.kind, ctx.layers, ctx.steps, ctx.kept = kind, layers, steps, kept
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        kind, layers, steps = ctx.kind, ctx.layers, ctx.steps
        x, fed, *tensors, hidden = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, *differentiable(kind.step, layers, steps, (x, fed, *tensors), gradients)
        kept = ctx.kept
        if kept is None:  # they became gradients when these were first asked for
            _, (_, *kept) = _forward(kind, layers, steps, x, fed, tensors, kept=True)
        ctx.kept = None
        found = _backward(kind, layers, steps, x, fed, tensors, hidden, kept, gradients, ctx.needs_input_grad[3:])
        for part in kept:
            _leave(part)
        return None, None, None, *found


def _forward(
    kind: _Kind, layers: int, steps: int, x: Tensor, fed: Tensor | None, tensors: Sequence[Tensor], *, kept: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return what the top layer gives, and what `_backward` needs."""
    initial = tensors[3 * layers :]
    batch, size = initial[0].shape[1:]
    panels = 4 * size // _LANES
    given, entering = _given(x, tensors[0], tensors[2], steps)
    gates = _room(layers, steps, panels, batch, _LANES) if kept else x.new_empty(layers, 1, panels, batch, _LANES)
    hidden = x.new_empty(layers, steps + 1, batch, size)
    hidden[:, 0] = initial[0]
    cells = None
    if kind.states == 2:
        cells = _room(layers, steps + 1, batch, size) if kept else x.new_empty(layers, 1, batch, size)
        cells[:, 0] = initial[1]
    held = [entering, None if fed is None else _panels(fed)]
    numbers = [steps, size, entering.shape[2], int(kept), layers, *map(_address, held)]
    for layer in range(layers):
        weight, recurrent, bias = tensors[3 * layer : 3 * layer + 3]
        given = given if layer == 0 else bias.contiguous()[None]
        held += [given, _panels(weight), _panels(recurrent)]
        own = [_address(held[-3]), 4 * size if given.shape[0] > 1 else 0, _address(held[-2]), _address(held[-1])]
        last = recurrent.shape[0] == 4 * size if cells is None else _address(cells[layer])
        numbers += [*own, _address(gates[layer]), _address(hidden[layer]), int(last)]
    _over_rows(kind.tasks()[0], batch, numbers, layers * 4 * size * size * steps)
    # Copies, since memory of cells is used again, and what a caller writes over must not reach the hidden states.
    ends = (hidden[-1, -1],) if cells is None else (hidden[-1, -1], cells[-1, -1])
    return (hidden[-1, 1:], *(end.clone() for end in ends)), (hidden, gates) if cells is None else (
        hidden,
        gates,
        cells,
    )


def _backward(
    kind: _Kind, layers: int, steps: int, x: Tensor, fed: Tensor | None, tensors: Sequence[Tensor],
    hidden: Tensor, kept: Sequence[Tensor], gradients: Sequence[Tensor | None], wanted: Sequence[bool],
) -> list[Tensor | None]:  # fmt: skip
    """Return the gradients of x, fed and all tensors; the gates become those of what enters them."""
    gates, size = kept[0], hidden.shape[3]
    weights = [Layer(*tensors[3 * layer : 3 * layer + 3]) for layer in range(layers)]
    total, ends = _through_time(kind, weights, fed, hidden, kept, gradients)
    once = x.shape[0] != steps
    sources: list[_Source | None] = [None if fed is None else (hidden[-1], gates[0], 0, fed.shape[0])]
    for number, layer in enumerate(weights):
        entering, before = (hidden[number - 1, 1:], gates[number]) if number else (x, total[:1] if once else gates[0])
        sources.append((entering, before, 0, layer.weight.shape[0]))
        sources.append((hidden[number], gates[number], 4 * size - layer.recurrent.shape[0], 4 * size))
    asked = [wanted[1], *(wanted[2 + 3 * number + part] for number in range(layers) for part in (0, 1))]
    dfed, *found = _crossed([source if wants else None for source, wants in zip(sources, asked, strict=True)])
    dx = None
    if wanted[0]:
        d = (total[:1] if once else gates[0]).transpose(1, 2).reshape(-1, 4 * size)[:, : tensors[0].shape[0]]
        dx = (d @ tensors[0]).view_as(x)
    biases = total.sum(2).flatten(1).unbind()
    return [dx, dfed, *chain.from_iterable(zip(found[::2], found[1::2], biases, strict=True)), *ends]


def _through_time(
    kind: _Kind, weights: Sequence[Layer], fed: Tensor | None,
    hidden: Tensor, kept: Sequence[Tensor], gradients: Sequence[Tensor | None],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Turn the gates into their gradients; return the sums of these over the steps, and the initial states' gradients.

    Sums: (L, 4H / 16, B, 16); states: (L, B, H) each.
    """
    gates, cells = kept[0], kept[1] if kind.states == 2 else hidden
    layers, steps, panels, batch, _ = gates.shape
    size = hidden.shape[3]
    nothing = hidden.new_zeros(batch, size)
    above = nothing[None] if gradients[0] is None else gradients[0].contiguous()
    ends = [hidden.new_zeros(layers, batch, size) for _ in range(kind.states)]
    for end, last in zip(ends, gradients[1:], strict=True):
        if last is not None:
            end[-1] = last
    total = gates.new_zeros(layers, panels, batch, _LANES)
    held = [above, nothing, None if fed is None else _panels(fed.T)]
    step = batch * size if above.shape[0] > 1 else 0
    numbers = [steps, size, step, _address(above), layers, *map(_address, held[1:])]
    for number, layer in enumerate(weights):
        held += [_panels(layer.recurrent.T), _panels(layer.weight.T) if number else None]
        last_one = _address(ends[1][number]) if kind.states == 2 else int(layer.recurrent.shape[0] == 4 * size)
        own = [gates[number], cells[number], total[number], ends[0][number]]
        numbers += [*map(_address, own), last_one, *map(_address, held[-2:])]
    _over_rows(kind.tasks()[1], batch, numbers, layers * 4 * size * size * steps)
    return total, ends


def _given(x: Tensor, weight: Tensor, bias: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return what every step is given, (1 or B, 4H), and the input that is left to the steps, (T, B, I)."""
    if x.shape[0] == steps or not x.shape[-1]:
        return bias.contiguous()[None], x.contiguous()
    given = bias.repeat(x.shape[1], 1)
    given[:, : weight.shape[0]] += x[0] @ weight.T
    return given, x.new_empty(0, x.shape[1], 0)


def _crossed(sources: Sequence[_Source | None]) -> list[Tensor | None]:
    """Return before's columns low … high − 1, transposed, times what entered over all steps, (high − low, I), of each.

    All have the same B and H; several that are wanted together are one task.
    """
    from seqae.nn import kernels

    numbers: list[int] = []
    held: list[Tensor] = []
    found: list[Tensor | None] = []
    parts = work = 0
    for source in sources:
        if source is None:
            found.append(None)
            continue
        entering, before, low, high = source
        steps, panels, batch, _ = before.shape
        entering = entering.contiguous()
        width = entering.shape[2]
        sums = before.new_zeros(panels, width, _LANES)
        if not parts:
            numbers = [batch, panels]
        numbers += [low // _LANES, high // _LANES, steps, width, *map(_address, (entering, before, sums))]
        held.append(entering)
        parts, work = parts + (high - low) // _LANES, work + steps * batch * width * (high - low)
        found.append(sums[low // _LANES : high // _LANES].mT)
    if parts:
        threads.run(kernels.gradients(), [0, parts, *numbers], _several(work))
    return [None if one is None else one.flatten(0, 1) for one in found]


def _room(*shape: int) -> Tensor:
    """Return uninitialised memory: what was left, if there is one of this size, for fresh pages are slow."""
    size = math.prod(shape)
    with _LOCK:
        fitting = [number for number, spare in enumerate(_SPARE) if spare.numel() == size]
        if fitting:
            return _SPARE.pop(fitting[-1]).view(shape)
    return torch.empty(shape, dtype=torch.float32)


def _leave(part: Tensor) -> None:
    """Keep memory that nobody will read again for `_room`, and forget the oldest beyond the last few."""
    with _LOCK:
        _SPARE.append(part.view(-1))
        del _SPARE[:-_SPARES]


def _panels(weight: Tensor) -> Tensor:
    """Return the transpose of weight (N, K) in panels (N / 16, K, 16)."""
    return weight.reshape(weight.shape[0] // _LANES, _LANES, weight.shape[1]).transpose(1, 2).contiguous()


def _address(part: Tensor | None) -> int:
    return 0 if part is None else part.data_ptr()


def _over_rows(task: Callable[[], Any], batch: int, numbers: Sequence[int], work: int) -> None:
    """Run a task over the batch's rows, each `work` multiplications."""
    several = _several(batch * work)
    parts = several * -(-batch // (_ROWS * several))
    share = 4 * -(-batch // (4 * parts))
    parts = -(-batch // share)
    threads.run(task(), [0, parts, share, batch, *numbers], several if parts > 1 else 1)


def _several(work: int) -> int:
    return torch.get_num_threads() if work >= 2 * _SHARE else 1


def _lstm_tasks() -> tuple[Any, Any]:
    from seqae.nn import kernels

    return kernels.lstm_forward, kernels.lstm_backward


def _gru_tasks() -> tuple[Any, Any]:
    from seqae.nn import kernels

    return kernels.gru_forward, kernels.gru_backward


class _Kind(NamedTuple):
    """A cell: how many states it has, its tasks, forward and backward, and one step of one layer, see twice.py."""

    states: int
    tasks: Callable[[], tuple[Any, Any]]
    step: Callable[..., list[Tensor]]


_Source = tuple[Tensor, Tensor, int, int]  # what entered (T, B, I), before (T, 4H / 16, B, 16), the columns wanted
_KINDS = {"lstm": _Kind(2, _lstm_tasks, lstm_step), "gru": _Kind(1, _gru_tasks, gru_step)}
