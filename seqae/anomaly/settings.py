"""The options of a Detector: checked against each other before any work, looked up, and written to the model file."""

from __future__ import annotations

__all__ = [
    "NETWORK",
    "check",
    "check_parts",
    "columns",
    "describe",
    "head_names",
    "is_of_unit",
    "part_of",
    "scorers",
    "takes_condition",
    "to_document",
]

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, TypeVar

from seqae.anomaly.fusion import FUSIONS
from seqae.anomaly.heads import Head, Scorer, nll
from seqae.anomaly.pipeline import Preparation
from seqae.anomaly.scoring import MISSING, MODES, SCORERS, head_of
from seqae.anomaly.thresholds.rules import THRESHOLDS
from seqae.errors import OptionError, choose
from seqae.models import MODELS, Autoencoder
from seqae.nn.likelihoods import LIKELIHOODS
from seqae.scaling import SCALINGS

V = TypeVar("V")

NETWORK = ("latent", "hidden", "cell", "decoder_type", "layers", "bidirectional", "feedback", "reverse", "likelihood")
UNIT_SCALINGS = ("minmax", "none")
"""The scalings under which data can lie in [0, 1], as a likelihood of [0, 1] needs."""


def is_of_unit(likelihood: Any) -> bool:
    """Tell whether a likelihood, given by name, by name with arguments or itself, takes only values in [0, 1]."""
    name = likelihood.get("name") if isinstance(likelihood, Mapping) else likelihood
    kind = LIKELIHOODS.get(name) if isinstance(name, str) else likelihood
    return bool(getattr(kind, "unit", False))


def part_of(menu: Mapping[str, V], given: str | V, what: str) -> V:
    """Return what a menu has under a name; anything but a name is a caller's own part and returned as it is."""
    return choose(menu, given, what) if isinstance(given, str) else given


def name_of(menu: Mapping[str, Any], given: Any, what: str) -> str:
    """Return a part's name in its menu; OptionError for a part that has none, which no file could name."""
    if isinstance(given, str):
        return given
    for name, part in menu.items():
        if part is given:
            return name
    raise OptionError(f"{what} {given!r} is your own part, which a file cannot hold. Add it to the menu, then save.")


def takes_condition(model: str | Autoencoder) -> bool:
    """Tell whether a model is conditional."""
    if isinstance(model, str):
        return "condition" in inspect.signature(choose(MODELS, model, "model")).parameters
    return model.condition > 0


def check(options: Mapping[str, Any]) -> None:
    """Raise OptionError for a Detector's option that does not exist or contradicts another."""
    for name in ("window", "stride", "smoothing", "min_length", "merge"):
        value, least = options[name], 0 if name == "merge" else 1
        if name in ("window", "stride", "smoothing") and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise OptionError(f"{name}={value!r} is not possible. Give a whole number of at least {least}.")
    for name, menu in (("threshold", THRESHOLDS), ("likelihood", LIKELIHOODS)):
        part_of(menu, options[name], name)
    _check_scorers(options)
    choose(MODES, options["mode"], "mode")
    choose(MISSING, options["missing"], "missing")
    choose(SCALINGS, options["scaling"], "scaling")
    if not 0 < options["alpha"] < 0.5:
        raise OptionError(f"alpha={options['alpha']!r} is the share of false alarms: give a number between 0 and 0.5.")
    if options["mode"] == "causal" and options["stride"] not in (None, 1):
        raise OptionError(f"mode causal scores every step, so its stride is 1; got stride={options['stride']}.")
    if None not in (options["stride"], options["window"]) and options["stride"] > options["window"]:
        raise OptionError(
            f"stride={options['stride']} is longer than window={options['window']}: rows between windows would have no "
            "score. Use a stride of at most the window."
        )
    conditional, model = takes_condition(options["model"]), options["model"]
    if not conditional and options["condition"]:
        raise OptionError(
            f"a {model} takes no condition; got {options['condition']!r}. Use --model CVAE, or leave it out."
        )
    if not conditional and options["prior"] != "standard":
        raise OptionError(f"prior {options['prior']!r} needs a condition, and a {model} has none. Use --model CVAE.")
    if is_of_unit(options["likelihood"]) and options["scaling"] not in UNIT_SCALINGS:
        raise OptionError(
            f"the {options['likelihood']} likelihood needs values in [0, 1], which scaling {options['scaling']} does "
            "not give. Use --scaling minmax, --scaling none for data that lies there already, or --likelihood normal."
        )


def scorers(given: Any) -> list[str | Scorer | Head]:
    """Return the scorers as a list, be it one or several."""
    return [given] if isinstance(given, str | Head) or callable(given) else list(given)


def head_names(given: Any) -> list[str]:
    """Return what each scorer is called: its name in the menu, or that of a caller's own function or class, counted."""
    names: list[str] = []
    for one in scorers(given):
        name = one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)
        again = sum(other.partition("-")[0] == name for other in names)
        names.append(f"{name}-{again + 1}" if again and not isinstance(one, str) else name)
    return names


def _check_scorers(options: Mapping[str, Any]) -> None:
    given, names = scorers(options["scorer"]), head_names(options["scorer"])
    if not given:
        raise OptionError(f"there is no scorer. Name one or several of {', '.join(SCORERS)}.")
    for one in given:
        head_of(one)
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"scorer {name} is named twice. Name it once.")
    if "reconstruction_probability" in names and options["model"] == "AE":
        raise OptionError("reconstruction_probability draws z, which an AE does not. Use --model VAE, or --score nll.")
    choose(FUSIONS, options["fusion"], "fusion")
    if options["missing"] == "score" and given not in (["nll"], [nll]):
        raise OptionError(
            f"--missing score gives a missing value nats, which only the score nll has; got {', '.join(names)}. Use "
            "--score nll with it."
        )


def check_parts(options: Mapping[str, Any], validation: float, calibration: float) -> None:
    """Raise OptionError where nothing is held back that several heads could be compared by."""
    names = head_names(options["scorer"])
    if len(names) > 1 and not (validation or calibration):
        raise OptionError(
            f"{len(names)} score heads are compared by held-back rows, and --validation 0 --calibration 0 hold none "
            "back. Give one of them above 0, or one head, such as --score nll."
        )


def columns(condition: str | Sequence[str] | None) -> list[str]:
    """Return the covariate columns that a condition names."""
    named = [condition] if isinstance(condition, str) else list(condition or ())
    return [name for name in named if name != "calendar"]


def to_document(options: Mapping[str, Any], model: Autoencoder) -> dict[str, Any]:
    """Return the options as JSON that makes a Detector again; the network's are those of the model's recipe."""
    named = dict(options)
    if model.recipe is not None:
        arguments = model.recipe["arguments"]
        named |= {name: arguments[name] for name in NETWORK} | {"prior": arguments.get("prior", "standard")}
        likelihood = arguments["likelihood"]
        named |= {
            "model": model.recipe["builder"],
            "likelihood": likelihood if len(likelihood) > 1 else likelihood["name"],
        }
    for one, name in zip(scorers(named["scorer"]), head_names(named["scorer"]), strict=True):
        if name not in SCORERS or not (isinstance(one, str) or one is nll):
            raise OptionError(f"scorer {one!r} is your own part, which a file cannot hold. Name those of the menu.")
    named["scorer"] = head_names(named["scorer"])
    named["threshold"] = name_of(THRESHOLDS, named["threshold"], "threshold")
    condition = named["condition"]
    named["condition"] = condition if condition is None or isinstance(condition, str) else list(condition)
    return named


def describe(document: Mapping[str, Any], model: Autoencoder, preparation: Preparation) -> dict[str, Any]:
    """Return what a reader of a model wants to know of its document, as JSON: no epoch but the best, no numbers."""
    history = dict(document["history"])
    epochs, best = history.pop("epochs", []), history.get("best_epoch", 0)
    thresholds = dict(document["thresholds"])
    return {
        **document,
        "history": history | {"epochs": len(epochs), "best": epochs[best - 1] if best else None},
        "preparation": {name: part for name, part in document["preparation"].items() if name != "reference"}
        | {"conditions": list(preparation.conditions.names), "scaler": preparation.scaler.kind},
        "threshold": thresholds.pop(None, None),
        "thresholds": thresholds,
        "recipe": model.recipe,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "device": str(next(model.parameters()).device),
    }
