"""Tests that need a CUDA GPU. What can be tested without one is tested elsewhere."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu():
    """Skip where there is none; and leave no switch of torch turned."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA GPU on this machine")
    yield torch.device("cuda", 0)
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def program(tmp_path):
    """Give a function that runs a program in a process of its own, whose CUDA nobody has used, and gives what it printed."""

    def run(text, *words, **variables):
        script = tmp_path / "program.py"
        script.write_text(textwrap.dedent(text))
        environ = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"} | variables
        done = subprocess.run([sys.executable, str(script), *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    return run
