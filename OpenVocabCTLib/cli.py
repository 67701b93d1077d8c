"""Command line of OpenVocabCT: a thin layer over the library.

Results go to stdout, progress and messages to stderr.  Every failure is one line, ``error: what is wrong: what to
do``, and one exit code: 2 usage or input, 3 model, 4 memory or disk, 130 cancelled.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from OpenVocabCTLib import __version__
from OpenVocabCTLib.commands.batch import batch
from OpenVocabCTLib.commands.demo import demo
from OpenVocabCTLib.commands.dicom import dicom
from OpenVocabCTLib.commands.doctor import doctor
from OpenVocabCTLib.commands.failures import as_user_error, usage_error
from OpenVocabCTLib.commands.models import models
from OpenVocabCTLib.commands.prompts import prompts
from OpenVocabCTLib.commands.segment import segment
from OpenVocabCTLib.commands.serve import serve
from OpenVocabCTLib.commands.services import Services
from OpenVocabCTLib.commands.terminal import one_line, open_closed_streams, tolerate_any_character
from OpenVocabCTLib.errors import Cancelled, OpenVocabCTError
from OpenVocabCTLib.memory import keep_freed_memory

PROGRAM = "openvocabct"
USAGE_EXIT_CODE = 2


class OneLineErrors(TyperGroup):
    """Command group that ends every failure with one line on stderr and a documented exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> None:
        """Run the command and exit; never returns.

        Args:
            args: the words after the program's name; those of this process by default.
            prog_name: ignored, so that help and messages always name the installed command.
            extra: ``obj``, the `Services` that the commands use.
        """
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words
        if debug:  # accepted after the command as well, where people add it
            words = ["--debug", *(word for word in words if word != "--debug")]
        try:
            code = super().main(words, PROGRAM, **(extra | {"standalone_mode": False}))
            if code == Cancelled.exit_code:  # how Typer reports Ctrl-C
                raise Cancelled("cancelled", "nothing is left half-written; run the command again to start over")
        except typer.TyperException as error:
            fail(usage_error(error), error, debug)
        except Exception as error:  # noqa: BLE001 the boundary of the program: nothing may escape as a traceback
            fail(as_user_error(error), error, debug)
        sys.exit(code or 0)


def fail(shown: OpenVocabCTError, cause: BaseException, debug: bool) -> None:
    """Print one line, or the whole traceback with ``--debug``, and exit."""
    if debug:
        traceback.print_exception(cause)
    typer.echo(f"error: {one_line(shown.what)}: {one_line(shown.todo)}", err=True)
    raise SystemExit(shown.exit_code) from cause


app = typer.Typer(
    cls=OneLineErrors,
    add_completion=False,
    rich_markup_mode=None,  # plain help: readable in a log, and quick
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(segment)
app.command()(batch)
app.command()(prompts)
app.add_typer(models, name="models")
app.add_typer(dicom, name="dicom")
app.command()(demo)
app.command()(serve)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    """Segment structures in CT from text prompts.

    Research use; not a medical device.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(USAGE_EXIT_CODE)


def main(args: Sequence[str] | None = None, services: Services | None = None) -> None:
    """Entry point of the ``openvocabct`` command; exits the process.

    Args:
        args: the words after the program's name; those of this process by default.
        services: what the commands read volumes and load models with; the real ones by default.
    """
    open_closed_streams()
    tolerate_any_character()
    keep_freed_memory()
    typer.main.get_command(app).main(args, obj=services)


if __name__ == "__main__":
    main()
