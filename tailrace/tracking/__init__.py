"""Records of training runs: their inputs, parameters, metrics and trials, and the registered model versions."""
