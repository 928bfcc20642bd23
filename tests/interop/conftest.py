"""Makes `foreign_files` and `import_victims` importable here and in victims."""

import os
import sys
from pathlib import Path

import pytest

from stratal.testing.victims import Victims

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)


@pytest.fixture(scope="session")
def fixtures():
    """The folder of files that other tools wrote."""
    return Path(HERE) / "fixtures"


@pytest.fixture(scope="session")
def importers():
    """A process to fork importers from, with everything imported."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *([before] if before else [])])
    imports = ["import_victims", "stratal.interop.importing", "stratal.store.settling", "stratal.tracking.store.settling"]
    with Victims(imports) as running:
        yield running
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before
