"""LightningCLI of pretraining."""

from __future__ import annotations

from collections.abc import Sequence

from openvocabct_training.checks import check_precision, check_sides, check_spacing
from openvocabct_training.lightning_cli import PlainCLI
from openvocabct_training.pretraining.data import PretrainingData
from openvocabct_training.pretraining.module import ContrastivePretraining
from openvocabct_training.run_record import RunRecord
from OpenVocabCTLib.inference.devices import cpu_is_fast_at_bf16

SUBCOMMANDS = ("fit", "validate")


class PretrainingCLI(PlainCLI):
    """Checks that network, view and store fit together before anything slow starts."""

    @classmethod
    def with_arguments(cls, arguments: Sequence[str], run: bool = True) -> PretrainingCLI:
        """Parse a command line such as ``["fit", "--config", FILE]`` and run it.

        Args:
            arguments: the subcommand (none if not ``run``) and its options.
            run: do what the subcommand says; otherwise only make the objects.
        """
        return cls.made(ContrastivePretraining, PretrainingData, callbacks=[RunRecord()], args=list(arguments), run=run)

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
