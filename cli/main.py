"""The `seqae` command: finds the commands, and turns every failure into one line and an exit code.

Nothing heavier than click is imported until a command is named: `seqae --help` and `--version` answer at once.
"""

from __future__ import annotations

__all__ = ["COMMANDS", "main", "run"]

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import click

from seqae.cli.command import BROKEN_PIPE, COMMON, INTERRUPTED, Session
from seqae.cli.routes import TWINS, is_image_line, twin_of
from seqae.errors import SeqaeError, SeqaeWarning

COMMANDS = {
    "train": "Train a model on a table and set its threshold.",
    "score": "Score every row of a table with a trained model.",
    "detect": "Train, calibrate, score and list the events of one table in one go.",
    "stream": "Score rows as they come in, line by line.",
    "evaluate": "Measure scores against labels.",
    "report": "Write one HTML page: series, score, events, threshold, training.",
    "info": "Say what is in a model file.",
    "encode": "Give the latent vector of every window.",
    "reconstruct": "Give what the model expects at every row, with a band.",
    "sample": "Draw new windows from a model.",
    "plot": "Draw the series, its reconstruction, the score and the events.",
    "evaluate-model": "Measure a model: bounds on the likelihood, what its latent is worth, what to change.",
}
"""Every command and its first line of help, told without loading it."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"seqae.cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command for these arguments: its namesake for images, where they name images."""
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name in TWINS and twin_of(name, rest):
            twin: click.Command = importlib.import_module(f"seqae.cli.images.{name.replace('-', '_')}").command
            if is_image_line(ctx, command, twin, rest):
                command = twin
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `COMMANDS`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"seqae {version('seqae')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Run 'seqae COMMAND --help' for a command's options and two examples of its use. Where DATA or MODEL is one "
    "of images, as in 'seqae train mnist --help', that is the help for images.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
@COMMON
@click.pass_context
def seqae(ctx: click.Context) -> None:
    """Sequence autoencoders (AE, VAE, CVAE): learn what a time series normally looks like, say what is strange."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run `seqae` with these arguments (those of the process where None) and return the exit code.

    0: done; 1: a failure; 2: a mistake in what was given; 130: interrupted; 141: nobody reads the output.
    """
    session = Session()
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=SeqaeWarning)
        warnings.showwarning = session.show_warning
        try:
            if "_SEQAE_COMPLETE" in os.environ:
                seqae.main(prog_name="seqae")  # a shell asks for completions; this exits
            # Not click's own main, which has other exit codes for interrupts and broken pipes.
            with seqae.make_context(
                "seqae", list(sys.argv[1:] if arguments is None else arguments), obj=session
            ) as ctx:
                seqae.invoke(ctx)
            sys.stdout.flush()
            return 0
        except click.exceptions.Exit as done:
            return done.exit_code
        except Exception as problem:
            if session.debug:
                traceback.print_exc()
            return _report(problem)
        except KeyboardInterrupt:
            return _report(click.Abort())


def _report(problem: Exception) -> int:
    """Say in one line what went wrong; the exit code."""
    match problem:
        case click.UsageError():
            place = problem.ctx.command_path if problem.ctx is not None else "seqae"
            return _fail(f"{problem.format_message().rstrip('.')}. See '{place} --help'.", problem.exit_code)
        case click.ClickException():
            return _fail(problem.format_message(), problem.exit_code)
        case SeqaeError():
            return _fail(str(problem), problem.exit_code)
        case click.Abort():
            return _fail("interrupted.", INTERRUPTED)
        case BrokenPipeError():
            _silence_stdout()
            return BROKEN_PIPE
        case MemoryError():
            return _fail("out of memory. Give fewer rows, a smaller --batch-size or a larger --stride.", 1)
        case OSError():
            return _fail(f"{problem.filename or 'the system'}: {problem.strerror or problem}.", 1)
        case _:
            return _fail(
                f"unexpected {type(problem).__name__}: {problem}. Run again with --debug for the traceback.", 1
            )


def _fail(message: str, code: int) -> int:
    click.echo(f"seqae: error: {' '.join(message.split())}", err=True)
    return code


def _silence_stdout() -> None:
    """Let the interpreter's last flush of a broken pipe go nowhere."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run `seqae` and exit with its code."""
    sys.exit(run(arguments))
