"""LightningCLI of pretraining."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from openvocabct_training.checks import check_precision, check_sides, check_spacing
from openvocabct_training.pretraining.data import PretrainingData
from openvocabct_training.pretraining.module import ContrastivePretraining
from openvocabct_training.run_record import RunRecord
from OpenVocabCTLib.errors import OpenVocabCTError
from OpenVocabCTLib.inference.devices import cpu_is_fast_at_bf16

SUBCOMMANDS = ("fit", "validate")


class PretrainingCLI(LightningCLI):
    """Checks that network, view and store fit together before anything slow starts."""

    @classmethod
    def with_arguments(cls, arguments: Sequence[str], run: bool = True) -> PretrainingCLI:
        """Parse a command line such as ``["fit", "--config", FILE]`` and run it.

        Args:
            arguments: the subcommand (none if not ``run``) and its options.
            run: do what the subcommand says; otherwise only make the objects.
        """
        try:
            return cls(
                ContrastivePretraining,
                PretrainingData,
                args=list(arguments),
                run=run,
                seed_everything_default=0,
                trainer_defaults={"callbacks": [RunRecord()]},
                save_config_kwargs={"overwrite": True},
            )
        except ValueError as error:
            # The parser takes what the class of a network says for a wrong type, and wraps it up.
            if isinstance(error.__cause__, OpenVocabCTError):
                raise error.__cause__ from None
            raise

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what ``with_arguments`` was given."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let every epoch draw a new order."""
        parser.set_defaults({"trainer.reload_dataloaders_every_n_epochs": 1})

    def before_fit(self) -> None:
        """Find contradictions now, not after an hour."""
        module, data = self.model, self.datamodule
        check_precision(str(self.trainer.precision), self.trainer.strategy.root_device.type, cpu_is_fast_at_bf16())
        check_sides("data.view.size", data.view.size, module.stride)
        check_spacing(data.store.records(), module.preprocessing)


def pretrain(arguments: Sequence[str]) -> None:
    """``openvocabct-train pretrain [fit|validate] --config FILE.yaml ...`` (PyTorch Lightning's own options)."""
    given = list(arguments)
    PretrainingCLI.with_arguments(given if given[:1] and given[0] in SUBCOMMANDS else ["fit", *given])
