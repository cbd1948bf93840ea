"""How published days compare with the training data, and how good their predictions were."""
