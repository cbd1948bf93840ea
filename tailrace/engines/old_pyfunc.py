"""Installed as `pipelines.engines.pyfunc`: the loader module that earlier releases wrote into their models.

MLflow's own tools (`mlflow.pyfunc.load_model`, `mlflow models serve`) import that name from a stored model, so that
models registered before the library was called `tailrace` still load. pyproject.toml installs this one file there
(`force-include`), without an `__init__.py`: Python then merges it with the project's own folder `pipelines/`, as long
as that has no `__init__.py` either.
"""

from tailrace.engines.pyfunc import PyfuncModel, _load_pyfunc

__all__ = ["PyfuncModel", "_load_pyfunc"]
