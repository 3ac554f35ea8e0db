"""The Autoencoder: an encoder, a latent, a decoder and a likelihood.

Every model maps a window x: (B, T, C) to q(z | x, c) over (B, Z) and to p(x | z, c) over (B, T, C). It knows no loss;
`objectives.py` has the bound, `models.py` the builders.
"""

from __future__ import annotations

__all__ = ["Autoencoder", "Output"]

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributions, nn

from seqae.errors import DataError, OptionError
from seqae.nn.decoders import Decoder
from seqae.nn.encoders import Encoder
from seqae.nn.latents import Latent, LatentState, chance
from seqae.nn.likelihoods import Likelihood


class Output(NamedTuple):
    """What a model says of a batch: q(z | x, c), p(x | z, c), and which values it saw as observed (B, T, C)."""

    latent: LatentState
    likelihood: distributions.Distribution
    observed: Tensor


class Autoencoder(nn.Module):
    """An encoder, a latent, a decoder and a likelihood.

    Everywhere below: x: (B, T, C), missing values NaN or marked in observed: (B, T, C) bool; condition: (B, T, K), or
    (B, K) for one that does not change within a window; lengths: (B,) where windows are padded at their ends.
    """

    def __init__(
        self,
        encoder: Encoder,
        latent: Latent,
        decoder: Decoder,
        likelihood: Likelihood,
        *,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.latent, self.decoder, self.likelihood = encoder, latent, decoder, likelihood
        self.condition = condition
        self.recipe: dict[str, Any] | None = None
        """The builder's name and arguments (JSON), or None where a part is the caller's own."""

    def forward(
        self,
        x: Tensor,
        observed: Tensor | None = None,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        sample: bool | None = None,
        teacher_forcing: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Output:
        """Return the latent's and the data's distribution.

        sample: draw z, or take its mean; None draws in training mode only. teacher_forcing: the share of steps, drawn
        for each window, at which the decoder is fed the true value before instead of its own (feedback="output").
        Raises DataError where x or the condition has another width than the model.
        """
        x, observed, condition = self._checked(x, observed, condition, lengths)
        state = self._posterior(x, observed, condition, lengths)
        z = state.sample(generator) if (self.training if sample is None else sample) else state.mean
        forced = self._forced(x, observed, teacher_forcing, generator)
        emitted = self._emitted(z, x.shape[1], condition, lengths, None if forced is None else x, forced)
        return Output(state, emitted, observed)

    def encode(
        self, x: Tensor, observed: Tensor | None = None, condition: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Return the mean of q(z | x, c), (B, Z)."""
        x, observed, condition = self._checked(x, observed, condition, lengths)
        return self._posterior(x, observed, condition, lengths).mean

    def posterior(
        self, x: Tensor, observed: Tensor | None = None, condition: Tensor | None = None, lengths: Tensor | None = None
    ) -> LatentState:
        """Return q(z | x, c) and the prior p(z | c)."""
        x, observed, condition = self._checked(x, observed, condition, lengths)
        return self._posterior(x, observed, condition, lengths)

    def emit(
        self, z: Tensor, steps: int, condition: Tensor | None = None, lengths: Tensor | None = None
    ) -> distributions.Distribution:
        """Return p(x | z, c) over (B, steps, C) for z: (B, Z)."""
        return self._emitted(z, steps, self._condition(condition, len(z), steps), lengths)

    def decode(self, z: Tensor, steps: int, condition: Tensor | None = None) -> Tensor:
        """Return the mean of p(x | z, c), (B, steps, C), for z: (B, Z)."""
        return self.emit(z, steps, condition).mean

    def reconstruct(
        self, x: Tensor, observed: Tensor | None = None, condition: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Return the mean of p(x | z, c) at the mean of q(z | x, c), (B, T, C)."""
        return self(x, observed, condition, lengths, sample=False).likelihood.mean

    def sample(
        self,
        n: int,
        steps: int,
        condition: Tensor | None = None,
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n new windows (n, steps, C): z ~ p(z | c), then x ~ p(x | z, c), or its mean without `noise`.

        condition: (n, steps, K) or (n, K). The generator must live on the CPU. OptionError for an AE.
        """
        device = next(self.parameters()).device
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.no_grad(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            condition = self._condition(condition, n, steps)
            z = self.latent.prior(n, _summary(condition, None)).sample()
            emitted = self.emit(z, steps, condition)
            return emitted.sample() if noise else emitted.mean

    def _emitted(self, z: Tensor, *how: Any) -> distributions.Distribution:
        """Return p(x | z, c); how: the decoder's other arguments."""
        # Under autocast the networks give bfloat16; densities and divergences are sums of many terms and keep z's own.
        location, extra = (None if part is None else part.to(z.dtype) for part in self.decoder(z, *how))
        return self.likelihood(location, extra)

    def _posterior(self, x: Tensor, observed: Tensor, condition: Tensor | None, lengths: Tensor | None) -> LatentState:
        state = self.latent(self.encoder(x, observed, condition, lengths), _summary(condition, lengths))
        return state.to(x.dtype)

    def _checked(
        self, x: Tensor, observed: Tensor | None, condition: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        channels = self.decoder.channels
        if x.dim() != 3 or x.shape[-1] != channels:
            raise DataError(f"the model takes windows (B, T, {channels}); got {tuple(x.shape)}.")
        observed = ~torch.isnan(x) if observed is None else observed
        if lengths is not None:
            inside = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device)[:, None]
            observed = observed & inside[..., None]
        return torch.where(observed, x, 0.0), observed, self._condition(condition, x.shape[0], x.shape[1])

    def _condition(self, condition: Tensor | None, batch: int, steps: int) -> Tensor | None:
        if condition is None and self.condition == 0:
            return None
        if condition is None:
            raise DataError(
                f"this model is conditional: give a condition (B, T, {self.condition}) or (B, {self.condition})."
            )
        if condition.dim() == 2:
            condition = condition[:, None].expand(-1, steps, -1)
        if condition.shape != (batch, steps, self.condition):
            wanted = f"(B, T, {self.condition})" if self.condition else "no condition: it is not a CVAE"
            raise DataError(
                f"the model takes {wanted}; got a condition {tuple(condition.shape)} "
                f"for {batch} windows of {steps} steps."
            )
        return condition

    def _forced(self, x: Tensor, observed: Tensor, rate: float, generator: torch.Generator | None) -> Tensor | None:
        if rate <= 0.0:
            return None
        if not (self.decoder.feeds_mean and self.likelihood.linear):
            raise OptionError(
                "teacher forcing feeds the true value back. Use decoder_type concat_output_latent or output_as_input, "
                "feedback output, and a likelihood on the data's own scale (not bernoulli)."
            )
        return chance((*x.shape[:2], 1), rate, x.device, generator) & observed


def _summary(condition: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Return a condition's first, mean and last step (B, 3K): what a conditional prior sees of it."""
    if condition is None:
        return None
    if lengths is None:
        return torch.cat([condition[:, 0], condition.mean(1), condition[:, -1]], dim=-1)
    length = lengths.to(condition.device)[:, None]
    inside = torch.arange(condition.shape[1], device=condition.device) < length
    mean = (condition * inside[..., None]).sum(1) / length
    last = condition.gather(1, (length - 1)[..., None].expand(-1, -1, condition.shape[-1]))[:, 0]
    return torch.cat([condition[:, 0], mean, last], dim=-1)
