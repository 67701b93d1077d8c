"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache, and what lies in it, out of the tests and of the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENVOCABCT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT beside the checkout; a test that asks for it is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real CT data in {SHARED_DATA}")
    return SHARED_DATA
