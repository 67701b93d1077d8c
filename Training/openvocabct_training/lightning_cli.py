"""LightningCLI for this training: the network and the data are fixed, everything else is configuration."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from openvocabct_training.checks import check_precision, check_run
from openvocabct_training.data.dataset import PatchDataModule
from openvocabct_training.finetune import TextPromptedSegmentation
from OpenVocabCTLib.inference.devices import cpu_is_fast_at_bf16


class TrainingCLI(LightningCLI):
    """Checks that network, configuration and store fit together before anything slow starts."""

    @classmethod
    def with_arguments(cls, arguments: Sequence[str], run: bool = True) -> TrainingCLI:
        """Parse a command line such as ``["fit", "--config", FILE]`` and run it.

        Args:
            arguments: the subcommand (none if not ``run``) and its options.
            run: do what the subcommand says; otherwise only make the objects.
        """
        return cls(
            TextPromptedSegmentation,
            PatchDataModule,
            args=list(arguments),
            run=run,
            seed_everything_default=0,
            # A resumed run without a logger writes its configuration where the first one did.
            save_config_kwargs={"overwrite": True},
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what ``with_arguments`` was given."""
        with warnings.catch_warnings():
            # The command line was read before, to find the subcommand: giving it here is no mistake.
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let every epoch draw new patches."""
        parser.set_defaults({"trainer.reload_dataloaders_every_n_epochs": 1})

    def before_fit(self) -> None:
        """Find contradictions now, not after an hour."""
        device = self.trainer.strategy.root_device.type
        check_precision(str(self.trainer.precision), device, cpu_is_fast_at_bf16())
        check_run(self.model, self.datamodule)
