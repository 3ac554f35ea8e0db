"""The loss: −ELBO in nats, and how training bends it (β, free bits, denoising, teacher forcing).

One convention everywhere: summed over a window's observed values and over latent dimensions, averaged over windows.
An AE is the case without a KL term.
"""

from __future__ import annotations

__all__ = ["NOISES", "Objective", "Terms", "elbo", "iwae", "log_weights"]

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from seqae.errors import OptionError, choose
from seqae.models import Autoencoder, Output
from seqae.nn.latents import LatentState, chance, normal_noise
from seqae.windows import Batch


class Terms(NamedTuple):
    """The loss of a batch in nats a window, and its parts."""

    total: Tensor
    """reconstruction + β · max(KL, free bits): what is minimised; −ELBO at β = 1 without free bits."""
    reconstruction: Tensor
    """−log p(x | z, c), summed over a window's observed values."""
    kl: Tensor
    """KL(q(z | x, c) ‖ p(z | c)), summed over latent dimensions."""
    values: Tensor
    """How many values the batch observed."""
    windows: int
    """How many windows it has."""


def elbo(
    x: Tensor, output: Output, *, observed: Tensor | None = None, beta: float = 1.0, free_bits: float = 0.0
) -> Terms:
    """Return the negative evidence lower bound of x: (B, T, C) and its parts (Kingma & Welling 2014, eq. 3).

    observed: (B, T, C) bool, the values that count; None takes those the model saw. beta weighs the KL term
    (Higgins et al. 2017). free_bits: nats a latent dimension that cost nothing, on the batch's mean (Kingma et al.
    2016, appendix C.8). Raises DataError where the likelihood refuses a value.
    """
    observed = output.observed if observed is None else observed
    x = torch.where(observed, x, 0.0)
    reconstruction = -torch.where(observed, output.likelihood.log_prob(x), 0.0).sum() / len(x)
    per_dimension = output.latent.kl().mean(0)
    kl = per_dimension.sum()
    paid = torch.clamp(per_dimension, min=free_bits).sum() if free_bits and output.latent.log_var is not None else kl
    return Terms(reconstruction + beta * paid, reconstruction, kl, observed.sum(), len(x))


def log_weights(
    model: Autoencoder,
    batch: Batch,
    state: LatentState,
    samples: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log p(x, z | c) − log q(z | x, c) and log p(x | z, c), each (samples, B), for draws z from q.

    state: q(z | x, c) of the batch. The mean of the weights themselves over draws estimates p(x | c) without bias;
    its logarithm is the importance-weighted bound (Burda, Grosse & Salakhutdinov 2016, eq. 8).
    """
    if state.log_var is None:
        raise OptionError("an AE has no posterior to draw from, so there is no bound. Use a VAE or CVAE.")
    drawn = normal_noise(state.mean.expand(samples, *state.mean.shape), generator)
    z = state.mean + torch.exp(0.5 * state.log_var) * drawn  # (samples, B, Z)
    log_q = -0.5 * (drawn.square() + state.log_var)
    if state.prior_mean is None or state.prior_log_var is None:
        log_p = -0.5 * z.square()
    else:
        log_p = -0.5 * ((z - state.prior_mean).square() * torch.exp(-state.prior_log_var) + state.prior_log_var)
    condition, lengths = (
        None if part is None else part.repeat(samples, *[1] * (part.dim() - 1))
        for part in (batch.condition, batch.lengths)
    )
    emitted = model.emit(z.flatten(0, 1), batch.x.shape[1], condition, lengths)
    density = emitted.log_prob(batch.x.repeat(samples, 1, 1)).view(samples, *batch.x.shape)
    log_x = torch.where(batch.observed, density, 0.0).sum((-2, -1))
    return log_x + (log_p - log_q).sum(-1), log_x


def iwae(
    model: Autoencoder, batch: Batch, state: LatentState, samples: int, generator: torch.Generator | None = None
) -> Terms:
    """Return the negative importance-weighted bound of k = samples draws; at k = 1 the ELBO with a sampled KL.

    The parts are those of the ELBO: the mean reconstruction over the draws, and the closed-form KL.
    """
    weights, log_x = log_weights(model, batch, state, samples, generator)
    bound = torch.logsumexp(weights, 0) - math.log(samples)
    return Terms(-bound.mean(), -log_x.mean(), state.kl().sum(-1).mean(), batch.observed.sum(), len(batch.x))


def _gaussian(batch: Batch, level: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Add normal noise with σ = level (scaled units) to what is observed."""
    noisy = batch.x + level * normal_noise(batch.x, generator)
    return torch.where(batch.observed, noisy, 0.0), batch.observed


def _masking(batch: Batch, level: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Hide the share `level` of the values from the encoder, as missing ones are."""
    kept = ~chance(batch.x.shape, level, batch.x.device, generator) & batch.observed
    return torch.where(kept, batch.x, 0.0), kept


NOISES: dict[str, Callable[[Batch, float, torch.Generator | None], tuple[Tensor, Tensor]]] = {
    "gaussian": _gaussian,
    "masking": _masking,
}

Schedule = float | Callable[[float], float]


class Objective:
    """The loss of a batch at a point of the training, for the loop to call.

    beta and teacher_forcing: a number, or a callable of the epoch (fractional, from 0). A callable beta has the
    attributes `final`, its value once it has settled, which validation uses, and `warmup_epochs`, the epochs until
    then, which early stopping waits for; seqae.training.schedules has some. OptionError where it has not.
    noise: "gaussian" (σ = noise_level, scaled units) or "masking" (share = noise_level hidden) for denoising
    (Vincent et al. 2008): the encoder sees the corrupted window, the loss the clean one.
    importance_samples: draws k of the importance-weighted bound (IWAE, Burda et al. 2016); 1 is the ELBO.
    """

    def __init__(
        self,
        *,
        beta: Schedule = 1.0,
        free_bits: float = 0.0,
        noise: str | None = None,
        noise_level: float = 0.2,
        teacher_forcing: Schedule = 0.0,
        importance_samples: int = 1,
    ) -> None:
        if callable(beta) and not (hasattr(beta, "final") and hasattr(beta, "warmup_epochs")):
            raise OptionError(
                "beta is a callable without the attributes final and warmup_epochs, so validation cannot know where it "
                "settles. Use a schedule of seqae.training.schedules, or set them."
            )
        self.beta = beta
        self.free_bits = free_bits
        self.corrupt = None if noise is None else choose(NOISES, noise, "noise")
        self.noise_level = noise_level
        self.teacher_forcing = teacher_forcing
        self.importance_samples = importance_samples
        if importance_samples < 1 or (importance_samples > 1 and not self._plain()):
            raise OptionError(
                f"importance_samples={importance_samples} must be at least 1; more than 1 make a bound of their own: "
                "leave beta at 1 from the start (--beta-schedule constant), free_bits and teacher_forcing at 0."
            )
        if free_bits < 0 or noise_level < 0 or (noise == "masking" and noise_level >= 1):
            raise OptionError(
                f"free_bits and noise_level must not be negative, and masking hides less than everything; "
                f"got free_bits={free_bits}, noise_level={noise_level}."
            )

    def _plain(self) -> bool:
        """Tell whether nothing bends the bound: beta 1 from the start, no free bits, no teacher forcing."""
        beta = _at(self.beta, 0.0) == _settled(self.beta) == 1.0
        return beta and not self.free_bits and _at(self.teacher_forcing, 0.0) == 0.0

    @property
    def warmup_epochs(self) -> float:
        """The epochs before beta has settled; early stopping waits for them."""
        return float(getattr(self.beta, "warmup_epochs", 0.0))

    def beta_at(self, epoch: float) -> float:
        """Return the KL term's weight at a (fractional) epoch."""
        return _at(self.beta, epoch)

    def __call__(
        self, model: Autoencoder, batch: Batch, *, epoch: float, generator: torch.Generator | None = None
    ) -> Terms:
        """Return the training loss: corrupted input, sampled z, scheduled beta and teacher forcing."""
        x, observed = batch.x, batch.observed
        if self.corrupt is not None:
            x, observed = self.corrupt(batch, self.noise_level, generator)
        if self.importance_samples > 1:
            state = model.posterior(x, observed, batch.condition, batch.lengths)
            return iwae(model, batch, state, self.importance_samples, generator)
        output = model(
            x, observed, batch.condition, batch.lengths,
            sample=True, teacher_forcing=_at(self.teacher_forcing, epoch), generator=generator,
        )  # fmt: skip
        return elbo(batch.x, output, observed=batch.observed, beta=self.beta_at(epoch), free_bits=self.free_bits)

    def evaluate(self, model: Autoencoder, batch: Batch, *, generator: torch.Generator | None = None) -> Terms:
        """Return the validation loss: clean input, free-running decoder, sampled z, beta where it settles."""
        if self.importance_samples > 1:
            state = model.posterior(batch.x, batch.observed, batch.condition, batch.lengths)
            return iwae(model, batch, state, self.importance_samples, generator)
        output = model(batch.x, batch.observed, batch.condition, batch.lengths, sample=True, generator=generator)
        return elbo(batch.x, output, observed=batch.observed, beta=_settled(self.beta), free_bits=self.free_bits)


def _at(schedule: Schedule, epoch: float) -> float:
    return float(schedule(epoch)) if callable(schedule) else float(schedule)


def _settled(schedule: Schedule) -> float:
    return float(schedule.final) if callable(schedule) else float(schedule)  # type: ignore[attr-defined]
