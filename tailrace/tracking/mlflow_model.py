"""A saved model as an MLflow pyfunc folder: signature, input example, requirements, and no pickle."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.types as kinds

from tailrace import __version__
from tailrace.errors import SignatureMismatch
from tailrace.lineage.libraries import installed_versions
from tailrace.tracking import mlflow_switches  # noqa: F401 - before MLflow is imported

# isort: split
import mlflow.pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

LIBRARIES = ("mlflow", "numpy", "pandas", "pyarrow", "scikit-learn", "skops", "xgboost")
EXAMPLE_ROWS = 5


def library_versions() -> dict[str, str]:
    """Version of Tailrace and of each library that a saved model may need, by name."""
    return {"tailrace": __version__} | installed_versions(*LIBRARIES)


def write_pyfunc(source: Path, target: Path, *, loader_module: str, example: pa.Table, predictions: pa.Table) -> None:
    """Write the folder `target`, which `mlflow.pyfunc.load_model` reads; it contains a copy of `source`.

    Raises SignatureMismatch if MLflow has no name for the type of one of the example's columns.
    """
    rows = _decoded(example)
    mlflow.pyfunc.save_model(
        path=str(target),
        loader_module=loader_module,
        data_path=str(source),
        signature=ModelSignature(inputs=_schema(rows), outputs=_schema(predictions)),
        input_example=rows.slice(0, EXAMPLE_ROWS).to_pandas(),
        pip_requirements=[f"{name}=={version}" for name, version in library_versions().items()],
    )


def saved_files(pyfunc_folder: Path) -> Path:
    """The path, inside a pyfunc folder, of the copy of the files that `Model.save` wrote."""
    flavor = Model.load(str(pyfunc_folder)).flavors["python_function"]
    return pyfunc_folder / str(flavor["data"])


def _decoded(rows: pa.Table) -> pa.Table:
    """The same rows with plain values for dictionaries, and float64 for decimals as in models: MLflow has neither."""
    return rows.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in rows.schema]))


def _plain(kind: pa.DataType) -> pa.DataType:
    if kinds.is_decimal(kind):
        return pa.float64()
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _schema(rows: pa.Table) -> Schema:
    """Every column with MLflow's name for its type; all are required."""
    types = {field.name: _data_type(field.type, rows[field.name].null_count) for field in rows.schema}
    unknown = [f"{name} ({rows.schema.field(name).type})" for name, its_type in types.items() if its_type is None]
    if unknown:
        raise SignatureMismatch(
            f"MLflow has no type for the model's columns {', '.join(unknown)}. "
            "Use numbers, booleans or strings as features."
        )
    return Schema([ColSpec(its_type, name) for name, its_type in types.items()])


def _data_type(kind: pa.DataType, missing: int) -> DataType | None:
    if kinds.is_integer(kind):
        # pandas stores integers with missing values as floats, and MLflow rejects floats where it expects integers.
        return DataType.double if missing else DataType.long
    if kinds.is_floating(kind):
        return DataType.double
    if kinds.is_boolean(kind):
        return DataType.boolean
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return DataType.string
    return None
