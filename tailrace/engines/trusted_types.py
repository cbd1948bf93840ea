"""The types in stored pipelines of scikit-learn that are loaded, besides those in skops' own list.

They are listed one by one, because a function of any package may read files: `numpy.load` would unpickle one. These
classes hold numbers, and the functions compute a metric from arrays, or check an array.
"""

from __future__ import annotations

from collections.abc import Mapping

_BY_MODULE: Mapping[str, tuple[str, ...]] = {
    "functools": ("partial",),
    "numpy": ("dtype",),
    "scipy._lib.array_api_compat.numpy._aliases": ("asarray",),
    "scipy.interpolate._bsplines": ("BSpline",),
    "scipy.sparse._csr": ("csr_array", "csr_matrix"),
    "sklearn._loss.loss": ("HalfTweedieLoss", "HalfTweedieLossIdentity"),
    "sklearn.calibration": ("_CalibratedClassifier", "_SigmoidCalibration"),
    "sklearn.ensemble._hist_gradient_boosting.predictor": ("TreePredictor",),
    "sklearn.gaussian_process._gpc": ("_BinaryGaussianProcessClassifierLaplace",),
    "sklearn.gaussian_process.kernels": (
        *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Hyperparameter"),
        *("Matern", "PairwiseKernel", "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel"),
    ),
    "sklearn.metrics._classification": (
        *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "d2_brier_score", "d2_log_loss_score"),
        *("f1_score", "jaccard_score", "log_loss", "matthews_corrcoef", "precision_score", "recall_score"),
    ),
    "sklearn.metrics._dist_metrics": (
        *("BrayCurtisDistance64", "CanberraDistance64", "ChebyshevDistance64", "EuclideanDistance64"),
        *("HammingDistance64", "ManhattanDistance64", "MahalanobisDistance64", "MinkowskiDistance64"),
        "SEuclideanDistance64",
    ),
    "sklearn.metrics._ranking": ("average_precision_score", "roc_auc_score", "top_k_accuracy_score"),
    "sklearn.metrics._regression": (
        *("d2_absolute_error_score", "explained_variance_score", "max_error", "mean_absolute_error"),
        *("mean_absolute_percentage_error", "mean_gamma_deviance", "mean_poisson_deviance", "mean_squared_error"),
        *("mean_squared_log_error", "median_absolute_error", "r2_score", "root_mean_squared_error"),
        "root_mean_squared_log_error",
    ),
    "sklearn.metrics._scorer": ("_CurveScorer", "_PassthroughScorer", "_Scorer"),
    "sklearn.model_selection._split": ("KFold", "StratifiedKFold", "TimeSeriesSplit"),
    "sklearn.neighbors._ball_tree": ("BallTree",),
    "sklearn.neighbors._kd_tree": ("KDTree",),
    "sklearn.neural_network._stochastic_optimizers": ("AdamOptimizer", "SGDOptimizer"),
    "sklearn.tree._tree": ("Tree",),
    "sklearn.utils._bunch": ("Bunch",),
    "sklearn.utils._metadata_requests": ("MetadataRequest", "MethodMetadataRequest"),
    "sklearn.utils.validation": ("check_array",),
}

TRUSTED = frozenset(f"{module}.{name}" for module, names in _BY_MODULE.items() for name in names)
