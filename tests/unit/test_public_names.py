"""What `import tailrace` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import tailrace
from tailrace import spec, wiring
from tailrace.problems import binary, multiclass, regression

KINDS = (binary, multiclass, regression)

HEAVY = {"airflow", "deltalake", "mlflow", "numpy", "pandas", "pyarrow", "pyspark", "sklearn"}


def test_every_public_name_is_there():
    homes = (spec, *KINDS, wiring)
    for name in tailrace.__all__:
        found = [getattr(home, name) for home in homes if hasattr(home, name)] or [tailrace.__version__]
        assert getattr(tailrace, name) is found[0]
    assert set(tailrace.__all__) <= set(dir(tailrace))


def test_no_other_name_is_made_up():
    assert not hasattr(tailrace, "Gates")


def test_importing_it_imports_nothing_heavy():
    code = f"""
import sys
import tailrace
assert not [name for name in sys.modules if name.startswith("tailrace.")], "a name is imported when it is used"
tailrace.PipelineSpec, tailrace.open_services
sys.exit(", ".join({HEAVY!r} & set(sys.modules)) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
