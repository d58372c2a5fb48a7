from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference captures and golden values, which do not ship with the package."""
    if not SHARED.is_dir():
        pytest.skip("reference data (../shared) is not on this machine")
    return SHARED
