"""What only a built extension can show: everything it needs is inside it.  Runs in Slicer, without network."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer

HEAVY = ("torch", "transformers", "yaml")


class OpenVocabCTInstalledTest(unittest.TestCase):
    """The extension as it is installed."""

    def test_library_with_weights_and_vocabulary_is_inside(self) -> None:
        """The worker starts from these files."""
        import OpenVocabCTLib

        folder = Path(OpenVocabCTLib.__file__).parent
        for file in ("prompts/structures.json", "worker/server.py", "cli.py"):
            self.assertTrue((folder / file).is_file(), file)
        models = list((folder / "weights").glob("*/model.safetensors"))
        self.assertTrue(models)
        self.assertGreater(min(model.stat().st_size for model in models), 1_000_000)

    def test_module_and_effect_are_there(self) -> None:
        """Slicer has found the module, and its files lie where it looks for them."""
        module = Path(slicer.modules.openvocabct.path)
        for file in (
            "Resources/UI/OpenVocabCT.ui",
            "Resources/Icons/OpenVocabCT.png",
            "SegmentEditorOpenVocabCTLib/SegmentEditorEffect.py",
        ):
            self.assertTrue((module.parent / file).is_file(), file)

    def test_opening_the_panel_imports_nothing_heavy(self) -> None:
        """Packages are installed and loaded on the first Apply, and never in Slicer's own process."""
        before = set(sys.modules)
        slicer.util.selectModule("OpenVocabCT")
        self.assertEqual([name for name in HEAVY if name in set(sys.modules) - before], [])

    def test_what_is_missing_is_known_quickly(self) -> None:
        """Looking at the packages starts nothing and changes nothing."""
        from OpenVocabCTSlicer.installing import Installer, slicer_environment

        readiness = Installer(slicer_environment()).check()
        self.assertEqual(readiness.ready, readiness.plan.empty)
        self.assertEqual(readiness.plan.bundled, ())


if __name__ == "__main__":
    unittest.main()
