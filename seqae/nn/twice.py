"""The compiled recurrences by PyTorch's operators, step by step: for a gradient that is to be differentiated again."""

from __future__ import annotations

__all__ = ["Step", "differentiable", "gru_step", "lstm_step"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Step = Callable[..., list[Tensor]]  # (what entered, recurrent weight, bias, states) -> states


def differentiable(
    step: Step, layers: int, steps: int, inputs: Sequence[Tensor | None], gradients: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of all inputs, None for those that want none, as something to be differentiated again.

    inputs: x, fed or None, each layer's weight, recurrent weight and bias, the initial states; see compiled.py.
    gradients: of the top layer's hidden states and of its last states.
    """
    with torch.enable_grad():
        # Views, so that none is reached through another.
        inputs = [None if part is None else part.view_as(part) for part in inputs]
        fed, given = inputs[1], [inputs[0], *inputs[2:]]
        outputs = _outputs(step, layers, steps, fed, *(part for part in given if part is not None))
        pairs = [(output, d) for output, d in zip(outputs, gradients, strict=True) if d is not None]
        wanted = [part for part in inputs if part is not None and part.requires_grad]
        results = iter(
            torch.autograd.grad(
                [output for output, _ in pairs], wanted, [d for _, d in pairs], create_graph=True, allow_unused=True
            )
        )
    return tuple(next(results) if part is not None and part.requires_grad else None for part in inputs)


def _outputs(
    step: Step, layers: int, steps: int, fed: Tensor | None, x: Tensor, *tensors: Tensor
) -> tuple[Tensor, ...]:
    weights = [tensors[3 * layer : 3 * layer + 3] for layer in range(layers)]
    states = [[part[layer] for part in tensors[3 * layers :]] for layer in range(layers)]
    outputs = []
    for entering in x.expand(steps, -1, -1):
        below, top = entering, states[-1][0]
        for layer, (weight, recurrent, bias) in enumerate(weights):
            entered = below @ weight.T if layer or fed is None else below @ weight.T + top @ fed.T
            states[layer] = step(entered, recurrent, bias, *states[layer])
            below = states[layer][0]
        outputs.append(below)
    return torch.stack(outputs), *states[-1]


def lstm_step(entered: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
    """Return the next hidden and cell state (B, H); entered: (B, 4H), what x brings."""
    i, f, g, o = (entered + bias + h @ recurrent.T).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return [torch.sigmoid(o) * torch.tanh(c), c]


def gru_step(entered: Tensor, recurrent: Tensor, bias: Tensor, h: Tensor) -> list[Tensor]:
    """Return the next hidden state (B, H); entered: (B, 3H), rows n, r, z."""
    size = h.shape[-1]
    own = nn.functional.pad(h @ recurrent.T, (4 * size - recurrent.shape[0], 0))
    n, r, z, q = (nn.functional.pad(entered, (0, size)) + bias + own).chunk(4, dim=-1)
    n, z = torch.tanh(n + torch.sigmoid(r) * q), torch.sigmoid(z)
    return [n + z * (h - n)]
