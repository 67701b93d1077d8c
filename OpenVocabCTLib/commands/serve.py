"""``openvocabct serve``: keep a model ready for 3D Slicer and other clients."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from OpenVocabCTLib.commands.options import CacheOption, DeviceOption, ModelOption, check_device
from OpenVocabCTLib.commands.services import services_of, with_embedding_folder


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes any that is free.")] = 0,
    announce: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write address, and token if made here, to this private file.")
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    max_upload_gb: Annotated[float, typer.Option(min=0.001, metavar="GB", help="Largest CT accepted.")] = 4.0,
    max_studies: Annotated[int, typer.Option(min=1, metavar="N", help="CTs kept in memory.")] = 4,
    idle_minutes: Annotated[
        float, typer.Option(min=0.0, metavar="MIN", help="Free all memory after so long without a request; 0: never.")
    ] = 30.0,
    watch_stdin: Annotated[bool, typer.Option("--watch-stdin", help="End when standard input does.")] = False,
) -> None:
    """Keep a model ready and answer over HTTP, on this machine only unless told otherwise.

    Clients must send the token of the environment variable OPENVOCABCT_TOKEN; where that is not set, one is made and
    written to the file of --announce. To reach it from another machine use an SSH tunnel.
    """
    from OpenVocabCTLib.worker.protocol import TOKEN_VARIABLE
    from OpenVocabCTLib.worker.serving import ServeOptions
    from OpenVocabCTLib.worker.serving import serve as run_server
    from OpenVocabCTLib.worker.studies import GIGABYTE, Limits

    check_device(device)
    _check_there(model, device)
    upload = int(max_upload_gb * GIGABYTE)
    options = ServeOptions(
        host=host,
        port=port,
        announce=announce,
        model=model,
        device=device,
        limits=Limits(upload, max_studies, 2 * upload),
        idle_seconds=idle_minutes * 60,
        watch_stdin=watch_stdin,
        token=os.environ.pop(TOKEN_VARIABLE, None) or None,  # not for programs that this one starts
    )
    services = with_embedding_folder(services_of(context), cache)
    if not run_server(options, services.load_model, lambda line: typer.echo(line, err=True)):
        # A tile of the network cannot be interrupted, and taking the interpreter down under it crashes.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _check_there(model: str | None, device: str) -> None:
    """Refuse a model or device that was named and is not there, of which clients would hear only when they ask.

    Raises:
        ModelError: there is no such model.
        InputError: this machine has no such device.
    """
    if model is not None:
        from OpenVocabCTLib.models.checkpoints import resolve

        resolve(model)
    if device not in ("auto", "cpu"):
        from OpenVocabCTLib.inference.devices import choose_compute

        choose_compute(device)
