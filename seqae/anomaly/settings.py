"""The options of a Detector: checked against each other before any work, looked up, and written to the model file."""

from __future__ import annotations

__all__ = ["NETWORK", "check", "columns", "is_bernoulli", "part_of", "takes_condition", "to_document"]

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, TypeVar

from seqae.anomaly.scoring import MISSING, MODES, SCORERS, nll
from seqae.anomaly.thresholds import THRESHOLDS
from seqae.errors import OptionError, choose
from seqae.models import MODELS, Autoencoder
from seqae.nn.likelihoods import LIKELIHOODS, Bernoulli
from seqae.scaling import SCALINGS

V = TypeVar("V")

NETWORK = ("latent", "hidden", "cell", "decoder_type", "layers", "bidirectional", "feedback", "reverse", "likelihood")
UNIT_SCALINGS = ("minmax", "none")
"""The scalings under which data can lie in [0, 1], as a Bernoulli likelihood needs."""


def is_bernoulli(likelihood: Any) -> bool:
    """Tell whether a likelihood, given by name, by name with arguments or itself, has no density outside [0, 1]."""
    name = likelihood.get("name") if isinstance(likelihood, Mapping) else likelihood
    return name == "bernoulli" or isinstance(likelihood, Bernoulli)


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
    for name in ("window", "stride", "min_length", "merge"):
        value, least = options[name], 0 if name == "merge" else 1
        if name == "stride" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
            raise OptionError(f"{name}={value!r} is not possible. Give a whole number of at least {least}.")
    for name, menu in (("scorer", SCORERS), ("threshold", THRESHOLDS), ("likelihood", LIKELIHOODS)):
        part_of(menu, options[name], name)
    choose(MODES, options["mode"], "mode")
    choose(MISSING, options["missing"], "missing")
    if options["missing"] == "score" and options["scorer"] not in ("nll", nll):
        raise OptionError(
            f"missing 'score' gives nats, as scorer 'nll' does; got scorer {options['scorer']!r}. Use nll."
        )
    choose(SCALINGS, options["scaling"], "scaling")
    if not 0 < options["alpha"] < 0.5:
        raise OptionError(f"alpha={options['alpha']!r} is the share of false alarms: give a number between 0 and 0.5.")
    if options["mode"] == "causal" and options["stride"] not in (None, 1):
        raise OptionError(f"mode causal scores every step, so its stride is 1; got stride={options['stride']}.")
    if options["stride"] is not None and options["stride"] > options["window"]:
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
    if is_bernoulli(options["likelihood"]) and options["scaling"] not in UNIT_SCALINGS:
        raise OptionError(
            f"the Bernoulli likelihood needs values in [0, 1], which scaling {options['scaling']} does not give. "
            "Use --scaling minmax, --scaling none for data that lies there already, or --likelihood normal."
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
    named["scorer"] = name_of(SCORERS, named["scorer"], "scorer")
    named["threshold"] = name_of(THRESHOLDS, named["threshold"], "threshold")
    condition = named["condition"]
    named["condition"] = condition if condition is None or isinstance(condition, str) else list(condition)
    return named
