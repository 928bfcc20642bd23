"""Capture: what a run was, written down so that it can be run again, and never a secret.

May live here: one file per subject (git, sources, packages, hardware, environment, seeds, entry), the filter for
secrets, and `capture.py`, which composes them.
May not: the store, the journal, anything that decides where a capture is kept. Nothing here may raise into a run:
a part that fails says so in `Capture.skipped`.
"""

from stratal.tracking.capture.capture import Capture, Captured, PackageList, StoredFile, quick, thorough
from stratal.tracking.capture.entry import Entry, entry_of_function
from stratal.tracking.capture.git import Git
from stratal.tracking.capture.hardware import Gpu, Hardware
from stratal.tracking.capture.packages import Packages
from stratal.tracking.capture.secrets import mask, mask_argv
from stratal.tracking.capture.seeds import Seeds, seeds_now, set_seeds
from stratal.tracking.capture.sources import CapturedFile, project_root

__all__ = [
    "Capture",
    "Captured",
    "CapturedFile",
    "Entry",
    "Git",
    "Gpu",
    "Hardware",
    "PackageList",
    "Packages",
    "Seeds",
    "StoredFile",
    "entry_of_function",
    "mask",
    "mask_argv",
    "project_root",
    "quick",
    "seeds_now",
    "set_seeds",
    "thorough",
]
