"""Options from a TOML file, and the file of options that a training run leaves behind."""

from __future__ import annotations

__all__ = ["CONFIG_NAME", "read_document", "read_settings", "settings_of", "to_toml"]

import configparser
import datetime
import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from seqae.cli.command import OrOff
from seqae.cli.routes import SECTIONS
from seqae.errors import OptionError

CONFIG_NAME = "config.toml"
NOT_SETTINGS = frozenset({"config", "help", "resume", "overwrite", "verbose", "quiet", "debug"})


def settings_of(command: click.Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that a command's own arguments imply.

    Those of --config win over those of a run to resume, and both over what suits the bundled series, where no DATA is
    named.
    """
    settings: dict[str, Any] = {}
    if given.get("resume") is True and isinstance(given.get("output"), str):
        run = Path(given["output"])
        if not (run / CONFIG_NAME).is_file():
            raise OptionError(f"{run} holds no run to resume: it has no {CONFIG_NAME}. Give a run's folder with -o.")
        settings |= read_settings(command, run / CONFIG_NAME, given)
    if isinstance(given.get("config"), str):
        settings |= read_settings(command, Path(given["config"]), given)
    has_data = isinstance(given.get("data"), str) or "data" in settings
    return settings if has_data else {**getattr(command, "without_data", {}), **settings}


def read_settings(command: click.Command, path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read option values from a TOML or INI file; keys are long option names, with - or _.

    given: the command's own arguments. Raises OptionError that names the file and the key: an unreadable file, a key
    that is no option of the command, a value of a kind that no option takes. Whether a value suits its option is the
    option's own check.
    """
    document = read_document(path)
    flatten = getattr(command, "flatten", None)
    if flatten is not None:
        document = flatten(document, path, given)
    known = {key: p for p in command.params for key in _keys(p) if p.name not in NOT_SETTINGS}
    settings = {}
    for written, value in document.items():
        if isinstance(value, dict) and written in SECTIONS:
            raise OptionError(
                f"{path}: [{written}] is a section of settings for images, and no images are named to train on. Name "
                "some, or leave the file out."
            )
        if isinstance(value, dict):
            raise OptionError(f"{path}: [{written}] is a table. Write the options at the top level, without tables.")
        key = written.replace("-", "_")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            cure = f"Did you mean {near[0]!r}?" if near else f"It may have: {', '.join(known)}."
            raise OptionError(f"{path}: unknown key {written!r} for 'seqae {command.name}'. {cure}")
        settings[str(known[key].name)] = _as_typed(value, known[key], f"{path}: {written}")
    return settings


def read_document(path: Path) -> dict[str, Any]:
    """Return a settings file's content: INI where its name ends with .ini, .cfg or .conf, otherwise TOML."""
    try:
        text = path.read_bytes().decode()
        if path.suffix.lower() not in (".ini", ".cfg", ".conf"):
            return tomllib.loads(text)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
        return {name: dict(parser[name]) for name in parser.sections()}
    except FileNotFoundError as problem:
        raise OptionError(f"there is no settings file {path}. Give a TOML file with --config.") from problem
    except OSError as problem:
        raise OptionError(f"cannot read the settings file {path}: {problem.strerror}. Give a TOML file.") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise OptionError(f"{path} is not TOML: {problem}. Write one key = value a line, text in quotes.") from problem
    except configparser.Error as problem:
        told = " ".join(problem.message.split())
        raise OptionError(f"{path} is not INI: {told}. Write [section] lines and key = value lines.") from problem


def _keys(parameter: click.Parameter) -> list[str]:
    """Return what an option may be called in a file: its long names, and the library's name for it."""
    return list(
        dict.fromkeys(
            [*(name[2:].replace("-", "_") for name in parameter.opts if name[:2] == "--"), str(parameter.name)]
        )
    )


def _as_typed(value: Any, parameter: click.Parameter, where: str) -> Any:
    """Return a value as it would be written on the command line, so that both go through the same check."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        if not isinstance(value, bool):
            raise OptionError(f"{where} = {value!r} must be true or false.")
        return value
    if isinstance(value, list) and getattr(parameter.type, "takes_lists", False):
        return value
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bool | list | dict):
        raise OptionError(f"{where} = {value!r} must be a single number or text.")
    return str(value)


def to_toml(command: click.Command, sections: Mapping[str, Mapping[str, Any]], heading: str) -> str:
    """Return a command's options as flat TOML under comment headings; reading it gives the same values.

    None is left out, or written off where it is not the default.
    """
    can_be_off = {p.name for p in command.params if isinstance(p.type, OrOff) and p.default is not None}
    lines = [f"# {heading}"]
    for title, settings in sections.items():
        told = {key: "off" if value is None and key in can_be_off else value for key, value in settings.items()}
        pairs = [f"{key} = {_value(value)}" for key, value in told.items() if value is not None]
        lines += ["", f"# {title}", *pairs] if pairs else []
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return f'"{value}"'
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(_value(part) for part in value)}]"
        case _:
            # A TOML basic string is a JSON string, but for the one control character that JSON leaves alone.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007F")
