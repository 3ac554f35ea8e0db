"""The collapse doctor: names what is wrong with a trained latent variable model, and the option that treats it."""

from __future__ import annotations

__all__ = ["Finding", "diagnose"]

from collections.abc import Mapping
from typing import Any, NamedTuple

from seqae.generative.bounds import ACTIVE, Evaluation

SPOKEN = 0.1
"""Nats of mutual information below which z tells nothing of x that anyone could use."""
AWAY = 1.0
"""Nats of KL(q(z) ‖ p(z)), and ...
"""
AWAY_SHARE = 0.25
"""... their share of the KL term, above which the codes of data are not where the prior draws."""
WORSE = 0.1
"""The share by which held-back data may cost more than those that were fitted."""
LOOSE = 0.05
"""The share by which the importance-weighted bound may be better than the ELBO."""


class Finding(NamedTuple):
    """A symptom by its name, the figures that show it, and what treats it."""

    symptom: str
    evidence: str
    treatment: str


def diagnose(found: Evaluation, *, history: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return what is wrong by an evaluation and, where given, the model's history; empty where nothing is.

    Collapse: Bowman et al. 2016, Burda et al. 2016 (active units); its treatments: Sønderby et al. 2016 (warm-up),
    Fu et al. 2019 (cycles), Kingma et al. 2016 (free bits). Codes away from the prior: Hoffman & Johnson 2016.
    """
    said = [*_latent(found)]
    if found.elbo is not None:
        said += [*_prior(found), *_bound(found)]
    return [*said, *_fit(history or {})]


def _latent(found: Evaluation) -> list[Finding]:
    """Judge how many dimensions carry something."""
    active, latent = found.active_units, len(found.per_dimension_variance)
    unused = f"{active} of {latent} latent dimensions are active (their mean varies by more than {ACTIVE:g} over data)"
    if found.kl is None:
        if active < latent:
            return [Finding("unused dimensions", unused, f"--latent {max(active, 1)} would do as well.")]
        return []
    known = found.mutual_information
    silent = known is not None and known < SPOKEN
    if active == 0 or silent:
        told = "" if known is None else f"; z holds {known:.2g} nats of what x is"
        return [
            Finding(
                "posterior collapse", f"{unused}; the KL term is {found.kl:.2g} nats{told}",
                "--free-bits 0.1, a longer --warmup, --beta-schedule cyclical or a --beta below 1; for series also a "
                "decoder that hears less of itself (--decoder_type repeat_latent) and a longer training.",
            )
        ]  # fmt: skip
    if active < latent:
        return [
            Finding(
                "unused dimensions", unused,
                f"harmless: a VAE switches off what it does not need. --latent {active} would do as well; "
                "--free-bits 0.1 or --beta below 1 make it use more.",
            )
        ]  # fmt: skip
    return []


def _prior(found: Evaluation) -> list[Finding]:
    """Judge whether the codes of data lie where samples are drawn."""
    away, kl = found.marginal_kl, found.kl
    if away is None or kl is None or away < max(AWAY, AWAY_SHARE * kl):
        return []
    return [
        Finding(
            "codes away from the prior",
            f"KL(q(z) ‖ p(z)) is {away:.3g} of the KL term's {kl:.3g} nats, so samples come from where no data lie",
            "a --beta above 1, fewer --latent dimensions, or more data; reconstructions and scores do not suffer.",
        )
    ]


def _bound(found: Evaluation) -> list[Finding]:
    """Judge how far the ELBO is from the likelihood."""
    if found.elbo is None or not found.bounds:
        return []
    k, best = max(found.bounds.items())
    gap = best - found.elbo
    if k < 10 or gap < LOOSE * abs(found.elbo) or gap < 1.0:
        return []
    return [
        Finding(
            "a loose bound",
            f"with {k} draws the bound is {best:.4g}, with one {found.elbo:.4g} nats: q(z | x) fits badly",
            "--importance-samples 5 or more (IWAE), or a larger encoder.",
        )
    ]


def _fit(history: Mapping[str, Any]) -> list[Finding]:
    """Judge the training by its records."""
    epochs = history.get("epochs") or []
    best = history.get("best_epoch") or 0
    if not best:
        return []
    record = epochs[best - 1]
    fitted, held = record.get("train_total"), record.get("validation_total")
    said = []
    if fitted is not None and held is not None and held - fitted > max(WORSE * abs(fitted), 1.0):
        said.append(
            Finding(
                "overfitting",
                f"held-back data cost {held:.4g} nats, the fitted ones {fitted:.4g} (epoch {best})",
                "more data, a smaller network or --latent, --noise masking, or --weight-decay.",
            )
        )
    if history.get("stopped") in ("finished", "time") and best == len(epochs):
        said.append(
            Finding(
                "an unfinished training",
                f"the last of {len(epochs)} epochs was still the best",
                "more --epochs" + (", or a longer --max-time." if history["stopped"] == "time" else "."),
            )
        )
    return said
