"""What `import tailrace` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import tailrace
from tailrace import spec, wiring

HEAVY = {"airflow", "deltalake", "mlflow", "numpy", "pandas", "pyarrow", "pyspark", "sklearn"}


def test_every_public_name_is_there():
    assert {name: getattr(tailrace, name) for name in tailrace.__all__} == {
        name: getattr(spec, name, None) or getattr(wiring, name, None) or tailrace.__version__
        for name in tailrace.__all__
    }
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
