"""What all commands share: help in sections that ends with examples, settings from a file, messages to stderr."""

from __future__ import annotations

__all__ = [
    "BROKEN_PIPE",
    "COMMON",
    "CONFIG",
    "INTERRUPTED",
    "Command",
    "Group",
    "Names",
    "Numbers",
    "OrOff",
    "Session",
    "option",
]

import csv
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from seqae.errors import SeqaeWarning

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit codes: 128 + the signal's number, as shells count

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """How much one run of the program says, all of it on stderr."""

    verbose: bool = False
    quiet: bool = False
    debug: bool = False
    warned: set[str] = field(default_factory=set)

    def say(self, message: str) -> None:
        """Say something that a user wants to know."""
        if not self.quiet:
            click.echo(message, err=True)

    def detail(self, message: str) -> None:
        """Say something that only a curious user wants to know (-v)."""
        if self.verbose:
            click.echo(message, err=True)

    @property
    def progress(self) -> bool:
        """Whether a progress bar has somebody to look at it: on a terminal, or with -v."""
        return not self.quiet and (self.verbose or sys.stderr.isatty())

    def show_warning(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """Show a warning as one line, once; those of other libraries only with -v."""
        text = " ".join(str(message).split())
        if text in self.warned or not (issubclass(category, SeqaeWarning) or self.verbose or self.debug):
            return
        self.warned.add(text)
        click.echo(f"seqae: warning: {text}", err=True)


class Names(click.ParamType):
    """Names separated by commas, in double quotes where a name holds one; a list in a settings file.

    of: what may be named; None takes any, as a table's columns.
    """

    name, takes_lists = "names", True

    def __init__(self, of: Collection[str] | None = None) -> None:
        self.of = of

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names; an empty one is refused."""
        if isinstance(value, str):
            value = next(csv.reader([value], skipinitialspace=True), [])
        names = tuple(str(name) for name in value)
        if not names or not all(names):
            self.fail("a name is empty. Separate names by single commas, as in a,b,c.", param, ctx)
        for name in names:
            if self.of is not None and name not in self.of:
                self.fail(f"{name!r} is not one of {', '.join(map(repr, self.of))}.", param, ctx)
        return names


class Numbers(click.ParamType):
    """Whole numbers, counted from 0: 3,8."""

    name, takes_lists = "numbers", True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is no list of numbers. Write them as 3,8, counted from 0.", param, ctx)
        return tuple(map(int, parts))


class OrOff(click.ParamType):
    """A value of another type, or the word off, which gives None."""

    def __init__(self, inner: click.ParamType) -> None:
        self.inner, self.name = inner, f"{inner.name} or off"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the choices and off, or X|off."""
        choices = getattr(self.inner, "choices", None)
        return f"[{'|'.join(map(str, choices))}|off]" if choices else "X|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return None for off."""
        return None if value is None or value == "off" else self.inner.convert(value, param, ctx)


class SectionOption(click.Option):
    """An option that knows under which heading of the help it stands."""

    def __init__(self, *args: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what stands in brackets: defaults without click's parentheses, ranges where they have an upper end."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        if "<" not in extra.get("range", "<"):
            del extra["range"]
        return extra


METAVARS: dict[type[Any], str] = {click.IntRange: "N", click.FloatRange: "X", Names: "A,B,..."}


def option(*names: str, section: str = "Options", **attributes: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option under a heading of the help, its default shown."""
    short = next((text for kind, text in METAVARS.items() if isinstance(attributes.get("type"), kind)), None)
    attributes = {"show_default": True, "metavar": short} | attributes
    return click.option(*names, cls=SectionOption, section=section, **attributes)


class Group:
    """Options that belong together: a decorator that adds them all, and the way to pick their values out again."""

    def __init__(self, *options: Callable[[Any], Any]) -> None:
        self.options = options
        probe: Any = click.Command("probe", callback=lambda: None)
        for add in options:
            add(probe)
        self.names = tuple(str(parameter.name) for parameter in probe.params)

    def __call__(self, command: F) -> F:
        """Add the options to a command."""
        for add in reversed(self.options):
            command = add(command)
        return command

    def pick(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of this group's options."""
        return {name: settings[name] for name in self.names}


class Command(click.Command):
    """A command with a --config file, options under headings, and examples at the end of its help.

    Every long option may be written with - or _ between its words.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        without_data: Mapping[str, Any] | None = None,
        flatten: Callable[[Mapping[str, Any], Path, Mapping[str, Any]], Mapping[str, Any]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)
        self.without_data = without_data or {}
        """Option values for the bundled series, which is taken where no DATA is named."""
        self.flatten = flatten
        """How a settings file with sections becomes one without: (its content, its path, the arguments as given)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with defaults from the files that the arguments themselves name."""
        if not ctx.resilient_parsing:
            from seqae.cli.config import settings_of

            args = self.dashed(args)
            # The help shows the options' own defaults, not those that suit the bundled series.
            helping = any(name in args for name in self.get_help_option_names(ctx))
            ctx.default_map = {} if helping else settings_of(self, self.make_parser(ctx).parse_args(list(args))[0])
        return super().parse_args(ctx, args)

    def dashed(self, args: list[str]) -> list[str]:
        """Return the arguments with --an_option as --an-option, where only that is known."""
        known = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        dashed = []
        for argument in args:
            name, equals, value = argument.partition("=")
            other = name.replace("_", "-")
            dashed.append(other + equals + value if name not in known and other in known else argument)
        return dashed

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, then the examples."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in [
            *((t, r) for t, r in sections.items() if t != "Options"),
            ("Options", sections["Options"]),
        ]:
            with formatter.section(title):
                formatter.write_dl(records)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def _remember(attribute: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        if given:
            setattr(ctx.ensure_object(Session), attribute, True)

    return callback


def _switch(*names: str, attribute: str, text: str) -> Callable[[F], F]:
    return option(
        *names,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember(attribute),
        help=text,
        show_default=False,
    )


COMMON = Group(
    _switch("-v", "--verbose", attribute="verbose", text="Say more, on stderr."),
    _switch("-q", "--quiet", attribute="quiet", text="Say nothing but warnings and errors."),
    _switch("--debug", attribute="debug", text="Show the traceback of an error."),
)
"""Switches that may stand before or after the command's name."""

CONFIG = option(
    "--config",
    type=click.Path(path_type=Path),
    expose_value=False,
    help="A TOML file of options, keys named as the long options; options given here win.",
)
