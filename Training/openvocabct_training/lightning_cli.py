"""LightningCLI for this training: the data are fixed, the network is ours or a baseline, all else is configuration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml  # type: ignore[import-untyped]
from pytorch_lightning import Callback
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from openvocabct_training.checks import check_checkpoint, check_precision, check_run
from openvocabct_training.data.module import PatchDataModule
from openvocabct_training.finetune import TextPromptedSegmentation
from openvocabct_training.patch_training import PatchTraining
from openvocabct_training.previews import PatchPreviews
from openvocabct_training.run_record import RunRecord
from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.inference.devices import cpu_is_fast_at_bf16


class PlainCLI(LightningCLI):
    """What the command lines of this package have in common: parsed from a list, errors in plain words."""

    @classmethod
    def made(cls, *objects: type, callbacks: Sequence[Callback], **options: Any) -> Self:
        """Make the command line.

        Args:
            objects: classes of network and data.
            callbacks: of every run.
            options: of ``LightningCLI``.
        """
        try:
            return cls(
                *objects,
                seed_everything_default=0,
                trainer_defaults={"callbacks": list(callbacks)},
                # A resumed run without a logger writes its configuration where the first one did.
                save_config_kwargs={"overwrite": True},
                **options,
            )
        except ValueError as error:
            # The parser takes what the class of a network says for a wrong type, and wraps it up.
            if isinstance(error.__cause__, OpenVocabCTError):
                raise error.__cause__ from None
            raise

    @property
    def checkpoint(self) -> str | None:
        """What the run goes on from, as it was given."""
        subcommand = self.config.get("subcommand")
        return self.config[subcommand].get("ckpt_path") if subcommand else None

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what was given; the checkpoint, which Lightning opens next, has to be one."""
        with warnings.catch_warnings():
            # The command line was read before, to find the subcommand: giving it here is no mistake.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)
        check_checkpoint(self.checkpoint)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let every epoch draw its samples anew."""
        parser.set_defaults({"trainer.reload_dataloaders_every_n_epochs": 1})


class TrainingCLI(PlainCLI):
    """Checks that network, configuration and store fit together before anything slow starts."""

    @classmethod
    def with_arguments(cls, arguments: Sequence[str], run: bool = True) -> TrainingCLI:
        """Parse a command line such as ``["fit", "--config", FILE]`` and run it.

        ``model`` in a configuration holds the arguments of ``TextPromptedSegmentation``, or ``class_path`` and
        ``init_args`` of another network of this package.

        Args:
            arguments: the subcommand (none if not ``run``) and its options.
            run: do what the subcommand says; otherwise only make the objects.
        """
        other_network = names_a_class(arguments)
        return cls.made(
            PatchTraining if other_network else TextPromptedSegmentation,
            PatchDataModule,
            callbacks=[RunRecord(), PatchPreviews()],
            subclass_mode_model=other_network,
            args=list(arguments),
            run=run,
        )

    def before_fit(self) -> None:
        """Find contradictions now, not after an hour."""
        device = self.trainer.strategy.root_device.type
        check_precision(str(self.trainer.precision), device, cpu_is_fast_at_bf16())
        check_run(self.model, self.datamodule)


def names_a_class(arguments: Sequence[str]) -> bool:
    """Does a command line, or a configuration that it names, choose the class of the network?

    What cannot be read is left to the parser, whose message names it.
    """
    if any(word.partition("=")[0] in ("--model", "--model.class_path") for word in arguments):
        return True
    for option, value in _options(arguments):
        if option not in ("--config", "-c"):
            continue
        try:
            said = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        # A configuration may hold the sections at its top, or below the name of a subcommand.
        sections = [said, said.get("fit")] if isinstance(said, dict) else []
        models = [section.get("model") for section in sections if isinstance(section, dict)]
        if any(isinstance(model, dict) and "class_path" in model for model in models):
            return True
    return False


def _options(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """``--option value`` and ``--option=value`` as pairs."""
    pairs = [(word, following) for word, following in zip(arguments, [*arguments[1:], ""], strict=True)]
    return [word.partition("=")[::2] if word.startswith("--") and "=" in word else (word, following)
            for word, following in pairs]  # fmt: skip
