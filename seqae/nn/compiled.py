"""LSTM and GRU layers on the CPU in float32: a whole layer, all its steps, in one call of a compiled kernel.

On one thread the library takes 1.1 to 2.5 times as long to train an LSTM from 32 rows on, and 1.3 to 30 times for a
GRU; for one row an LSTM's short windows take as long as they did (benchmarks/results/recurrence.md). The steps run in
`kernels.py`. The batch's rows, and the columns of a weight's gradient, which is one product over all steps, are shared
out to torch.get_num_threads() Python threads: how many there are changes no bit of the results. What the kernels need
to be compiled is paid once per installation, some 4 s a cell at its first use.
"""

from __future__ import annotations

__all__ = ["fits", "gru", "lstm"]

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_LANES = 16
_THERE = importlib.util.find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
_SHARE = 10_000_000
"""Multiplications that are worth another thread; waking one takes some 50 µs."""


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
    x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, state: Sequence[Tensor], steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return hidden states (T, B, H) and the last hidden and cell state (B, H).

    x: (T, B, I), or (1, B, I) for what is the same at every step; weight (4H, I), recurrent (4H, H), bias (4H,) in the
    library's order; state: the initial hidden and cell state (B, H).
    """
    size = recurrent.shape[1]
    hidden, last, cell = _call(_LSTM, x, *_padded(size, weight, recurrent, bias, *state), steps)
    return hidden[..., :size], last[..., :size], cell[..., :size]


def gru(
    x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, state: Sequence[Tensor], steps: int
) -> tuple[Tensor, Tensor]:
    """Return hidden states (T, B, H) and the last one (B, H).

    Rows in the order n, r, z: weight (3H, I). r, z, q: recurrent (3H, H), or n, r, z, q: (4H, H) where the candidate
    has an ungated recurrent part. n, r, z, q: bias (4H,). q is what r multiplies; see recurrence.py.
    """
    size = recurrent.shape[1]
    hidden, last = _call(_GRU, x, *_padded(size, weight, recurrent, bias, *state), steps)
    return hidden[..., :size], last[..., :size]


def _padded(size: int, weight: Tensor, recurrent: Tensor, bias: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
    """Widen H to a multiple of 16: what is added stays 0 at every step."""
    more = -size % _LANES
    if not more:
        return weight, recurrent, bias, *state
    pad = nn.functional.pad
    return (
        pad(weight.unflatten(0, (-1, size)), (0, 0, 0, more)).flatten(0, 1),
        pad(recurrent.unflatten(0, (-1, size)), (0, more, 0, more)).flatten(0, 1),
        pad(bias.unflatten(0, (-1, size)), (0, more)).flatten(),
        *(pad(part, (0, more)) for part in state),
    )


def _call(function: Any, *arguments: Any) -> Any:
    if torch.is_grad_enabled() and any(part.requires_grad for part in arguments[:-1]):
        return function.apply(*arguments)
    with torch.no_grad():
        return function.run(*arguments, kept=False)[0]


class _LSTM(torch.autograd.Function):
    @staticmethod
    def run(
        x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, c: Tensor, steps: int, *, kept: bool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        from seqae.nn import kernels

        batch, size = h.shape
        given, x = _given(x, weight, bias, steps)
        gates = h.new_empty(steps if kept else 1, batch, 4 * size)
        hidden = h.new_empty(steps + 1, batch, size)
        cells = h.new_empty(steps + 1 if kept else 1, batch, size)
        hidden[0], cells[0] = h, c
        _spread(
            kernels.lstm_forward, range(0, batch, 4), 16 * size * size * steps, (batch, steps, size, x.shape[-1], kept),
            (given, 4 * size if len(given) > 1 else 0, x, _panels(weight), _panels(recurrent), gates, hidden, cells),
        )  # fmt: skip
        last = (hidden[-1].clone(), cells[-1].clone()) if kept else (hidden[-1], cells[-1])
        return (hidden[1:], *last), (hidden, gates, cells)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        results, kept = _LSTM.run(*inputs, kept=True)
        ctx.save_for_backward(*inputs[:-1], *kept)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from seqae.nn import kernels

        *inputs, hidden, gates, cells = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_twice(_lstm_plain, inputs, len(hidden) - 1, gradients), None
        x, weight, recurrent = inputs[:3]
        above, dh, dc = _gradients(gradients, hidden)
        before, total = torch.empty_like(gates), torch.zeros_like(gates[0])
        batch, size = dh.shape
        _spread(
            kernels.lstm_backward, range(0, batch, 4), 16 * size * size * len(gates), (batch, len(gates), size),
            (above, batch * size if len(above) > 1 else 0, gates, cells, _panels(recurrent.T), dh.new_zeros(size),
             before, total, dh, dc),
        )  # fmt: skip
        drecurrent = _crossed(before, hidden[:-1], 0, 4 * size) if ctx.needs_input_grad[2] else None
        return *_entered(ctx, before, total, x, weight), drecurrent, total.sum(0), dh, dc, None


class _GRU(torch.autograd.Function):
    @staticmethod
    def run(
        x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, steps: int, *, kept: bool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        from seqae.nn import kernels

        batch, size = h.shape
        given, x = _given(x, weight, bias, steps)
        gates = h.new_empty(steps if kept else 1, batch, 4 * size)
        hidden = h.new_empty(steps + 1, batch, size)
        hidden[0] = h
        sizes = (batch, steps, size, x.shape[-1], kept, len(recurrent) == 4 * size)
        _spread(
            kernels.gru_forward, range(0, batch, 4), 16 * size * size * steps, sizes,
            (given, 4 * size if len(given) > 1 else 0, x, _panels(weight), _panels(recurrent), gates, hidden),
        )  # fmt: skip
        return (hidden[1:], hidden[-1].clone() if kept else hidden[-1]), (hidden, gates)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        results, kept = _GRU.run(*inputs, kept=True)
        ctx.save_for_backward(*inputs[:-1], *kept)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from seqae.nn import kernels

        *inputs, hidden, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_twice(_gru_plain, inputs, len(hidden) - 1, gradients), None
        x, weight, recurrent = inputs[:3]
        above, dh = _gradients(gradients, hidden)
        before, total = torch.empty_like(gates), torch.zeros_like(gates[0])
        batch, size = dh.shape
        free = len(recurrent) == 4 * size
        _spread(
            kernels.gru_backward, range(0, batch, 4), 16 * size * size * len(gates), (batch, len(gates), size, free),
            (above, batch * size if len(above) > 1 else 0, gates, hidden, _panels(recurrent.T), before, total, dh),
        )  # fmt: skip
        drecurrent = _crossed(before, hidden[:-1], 0 if free else size, 4 * size) if ctx.needs_input_grad[2] else None
        return *_entered(ctx, before, total, x, weight), drecurrent, total.sum(0), dh, None


def _given(x: Tensor, weight: Tensor, bias: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return what every step is given, (1 or B, 4H), and the input that is left to the steps, (T, B, I)."""
    if len(x) == steps or not x.shape[-1]:
        return bias.contiguous()[None], x.contiguous()
    given = bias.repeat(x.shape[1], 1)
    given[:, : len(weight)] += x[0] @ weight.T
    return given, x.new_empty(0, x.shape[1], 0)


def _entered(ctx: Any, before: Tensor, total: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of x and its weight, from (T, B, 4H) at each step and their sum (B, 4H) over the steps."""
    d = before if len(x) == len(before) else total[None]
    dx = (d.flatten(0, 1)[:, : len(weight)] @ weight).view_as(x) if ctx.needs_input_grad[0] else None
    return dx, _crossed(d, x, 0, len(weight)) if ctx.needs_input_grad[1] else None


def _crossed(d: Tensor, entering: Tensor, first: int, last: int) -> Tensor:
    """Return dᵀ · entering over all steps, (last − first, I), of the columns first … last − 1 of d (T, B, 4H)."""
    from seqae.nn import kernels

    columns, width = d.shape[2], entering.shape[2]
    found, depth = d.new_zeros(width, columns), d.shape[0] * d.shape[1]
    _spread(
        kernels.outer, range(first, last, _LANES), depth * width * _LANES, (depth, columns, width),
        (entering.contiguous(), d, found, d.new_empty(columns // _LANES, kernels.DEPTH, _LANES)),
    )  # fmt: skip
    return found[:, first:last].T


def _gradients(gradients: Sequence[Tensor | None], hidden: Tensor) -> tuple[Tensor, ...]:
    """Return the gradient of all hidden states, or zeros (1, B, H), and the last states', to be written over."""
    above, *last = gradients
    nothing = torch.zeros_like(hidden[:1])
    return (
        nothing if above is None else above.contiguous(),
        *(nothing[0].clone() if part is None else part.clone(memory_format=torch.contiguous_format) for part in last),
    )


def _panels(weight: Tensor) -> Tensor:
    """Return the transpose of weight (N, K) in panels (N / 16, K, 16)."""
    return weight.reshape(len(weight) // _LANES, _LANES, weight.shape[1]).transpose(1, 2).contiguous()


def _spread(
    kernel: Callable[..., None], parts: range, work: int, sizes: Sequence[int], arrays: Sequence[Tensor | int]
) -> None:
    """Call the kernel for all parts, each `work` multiplications, in as many threads as PyTorch would take at most."""
    threads = max(1, min(torch.get_num_threads(), len(parts), len(parts) * work // _SHARE))
    flat = [part.detach().numpy() if isinstance(part, Tensor) else part for part in arrays]
    cuts = [parts.start + len(parts) * k // threads * parts.step for k in range(threads)] + [parts.stop]
    others = [_pool(os.getpid(), threads).submit(kernel, low, high, *sizes, *flat) for low, high in pairwise(cuts[1:])]
    kernel(cuts[0], cuts[1], *sizes, *flat)
    for other in others:
        other.result()


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return this process's own workers: a forked one has none of its parent's."""
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="seqae-recurrence")


# What is differentiated twice goes through the library's operators, step by step.


def _twice(
    plain: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], steps: int, gradients: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    with torch.enable_grad():
        inputs = [part.view_as(part) for part in inputs]  # so that none is reached through another
        outputs = plain(*inputs, steps)
        pairs = [(output, d) for output, d in zip(outputs, gradients, strict=True) if d is not None]
        wanted = [part for part in inputs if part.requires_grad]
        results = iter(
            torch.autograd.grad(
                [output for output, _ in pairs], wanted, [d for _, d in pairs], create_graph=True, allow_unused=True
            )
        )
    return tuple(next(results) if part.requires_grad else None for part in inputs)


def _lstm_plain(
    x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, c: Tensor, steps: int
) -> tuple[Tensor, ...]:
    outputs = []
    for entering in (x @ weight.T + bias).expand(steps, -1, -1):
        i, f, g, o = (entering + h @ recurrent.T).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), h, c


def _gru_plain(x: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, steps: int) -> tuple[Tensor, ...]:
    size = h.shape[-1]
    recurrent = nn.functional.pad(recurrent, (0, 0, 4 * size - len(recurrent), 0))
    outputs = []
    for entering in (nn.functional.pad(x @ weight.T, (0, size)) + bias).expand(steps, -1, -1):
        n, r, z, q = (entering + h @ recurrent.T).chunk(4, dim=-1)
        # Only n takes the part that r lets through.
        n, z = torch.tanh(n + torch.sigmoid(r) * q), torch.sigmoid(z)
        h = n + z * (h - n)
        outputs.append(h)
    return torch.stack(outputs), h
