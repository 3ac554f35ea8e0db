"""`seqae evaluate-model`: what a trained model is worth as a model of data."""

from __future__ import annotations

__all__ = ["BOUNDS", "command", "document", "lines"]

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from seqae.cli.command import COMMON, CONFIG, Command, Numbers, Session, option
from seqae.cli.info import section
from seqae.cli.options import COUNT, DATA, JSON, MODEL, REREADING, SIZE
from seqae.cli.output import check_inputs, to_json
from seqae.cli.reading import load, reread
from seqae.generative.bounds import ACTIVE, Evaluation
from seqae.generative.doctor import Finding, diagnose
from seqae.generative.quality import generation_report
from seqae.generative.series import evaluate_series, real_and_drawn
from seqae.report.words import count, number

BOUNDS = option(
    "--samples", type=Numbers(), default=(1, 10, 100), metavar="K,K,...", show_default="1,10,100",
    help="Draws of the importance-weighted bounds; each must divide the largest, whose bound is the estimate of log p.",
)  # fmt: skip


@click.command(
    "evaluate-model",
    cls=Command,
    examples=(
        "seqae evaluate-model runs/pump today.csv",
        "seqae evaluate-model runs/pump today.csv --samples 1,50 --json",
    ),
)
@MODEL
@DATA
@BOUNDS
@option(
    "--drawn", type=SIZE, metavar="N", show_default="none",
    help="Draw N windows, too, and measure them against as many real ones: can a classifier tell them apart, can a "
    "predictor learn from them (TimeGAN's scores).",
)  # fmt: skip
@option(
    "--noise/--no-noise", default=True, help="Let their values scatter as the likelihood says, or give their means."
)
@option("--seed", type=COUNT, default=0, help="The same seed draws the same.")
@option("--device", default="cpu", help="auto, cpu, cuda, cuda:1 or mps.")
@JSON
@REREADING
@CONFIG
@COMMON
@click.pass_obj
def command(
    session: Session, model: Path, data: str | None, samples: tuple[int, ...], drawn: int | None, noise: bool,
    seed: int, device: str, as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Measure a model: bounds on the likelihood, what its latent is worth, what to change.

    MODEL is a model file or the folder of a run. DATA is a CSV or Parquet file, a folder of them, or - for stdin; best
    is data that the model was not trained on. All figures are in nats a window of scaled values, as training's loss.
    What is wrong is named with the option that treats it. seqae evaluate measures scores against labels.
    """
    detector = load(model, device)
    check_inputs(data)
    given = reread(session, detector, data, settings)
    found = evaluate_series(detector, given, samples=samples, seed=seed)
    said = diagnose(found, history=detector.history)
    quality = None
    if drawn is not None:
        pair = real_and_drawn(detector, given, drawn, noise=noise, seed=seed)
        quality = generation_report(pair.real, pair.drawn, seed=seed) | {"windows": len(pair.real)}
    if as_json:
        click.echo(to_json(document(found, said) | ({} if quality is None else {"drawn": quality})))
        return
    names = detector.preparation.channels
    click.echo("\n".join([*lines(found, said, "window"), *([] if quality is None else _drawn(quality, names))]))


def document(found: Evaluation, said: Sequence[Finding]) -> dict[str, Any]:
    """Return an evaluation and what the doctor says of it as JSON."""
    return found.to_document() | {"findings": [one._asdict() for one in said]}


def lines(found: Evaluation, said: Sequence[Finding], unit: str) -> Iterator[str]:
    """Yield an evaluation as text; unit: what the figures are for one of."""
    yield f"{count(found.windows, unit)} of {number(found.values)} observed values"
    fit = [("error", f"{number(found.squared_error)} mean squared error of the reconstructions")]
    fit.append(("reconstruction", f"{number(found.reconstruction)} nats"))
    if found.kl is not None and found.elbo is not None:
        of = "no bound of a likelihood: a cross-entropy" if found.cross_entropy else "a lower bound of log p(x)"
        fit += [("KL", f"{number(found.kl)} nats"), ("ELBO", f"{number(found.elbo)} nats, {of}")]
        fit += [(f"bound, k = {k}", f"{number(bound)} nats") for k, bound in found.bounds.items()]
        error = "" if found.standard_error is None else f" ± {number(found.standard_error, 2)} (standard error)"
        name = "cross-entropy" if found.cross_entropy else "log p(x)"
        fit.append((name, f"about {number(max(found.bounds.items())[1])}{error} nats"))
        bits = found.bits_per_dimension
        why = f"not defined: {'grey values under a Bernoulli' if found.cross_entropy else 'a density'}"
        fit.append(("bits", why if bits is None else f"{number(bits)} a dimension"))
    yield from section(f"Fit, for one {unit}", fit)
    size = len(found.per_dimension_variance)
    latent = [("active", f"{found.active_units} of {count(size, 'dimension')} (variance of the mean above {ACTIVE:g})")]
    if found.mutual_information is not None and found.marginal_kl is not None:
        latent.append(("information", f"{number(found.mutual_information)} nats of what x is"))
        latent.append(("codes", f"{number(found.marginal_kl)} nats away from the prior that samples come from"))
    if found.per_dimension_kl:
        told = sorted(((kl, d) for d, kl in enumerate(found.per_dimension_kl)), reverse=True)
        latent.append(("KL by dimension", ", ".join(f"z{d} {number(kl, 2)}" for kl, d in told)))
    yield from section("Latent", latent)
    yield ""
    yield "Doctor"
    if not said:
        yield "  nothing wrong"
    for one in said:
        yield f"  {one.symptom}: {one.evidence}"
        yield f"    treat by {one.treatment}"


def _drawn(quality: Mapping[str, Any], channels: Sequence[str]) -> Iterator[str]:
    """Yield what samples are worth."""
    tell, learn = quality["discriminative"], quality["predictive"]
    rows = [
        (
            "told apart",
            f"score {_spread(tell['score'])} (0: never, .5: always; real halves {_spread(tell['baseline'])})",
        ),
        (
            "learned from",
            f"error {_spread(learn['score'])} on real windows (learned from real {_spread(learn['baseline'])}, "
            f"from nothing {_spread(learn['constant'])})",
        ),
    ]
    for c, name in enumerate(channels):
        apart, memory = quality["kolmogorov"][c], quality["autocorrelation"][c]
        rows.append((name, f"Kolmogorov distance {number(apart, 2)}, autocorrelation off by {number(memory, 2)}"))
    yield from section(f"{count(quality['windows'], 'drawn window')} against as many real ones", rows)


def _spread(figure: Mapping[str, float]) -> str:
    return f"{number(figure['mean'], 2)} ± {number(figure['sd'], 2)}"
