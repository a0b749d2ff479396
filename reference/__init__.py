"""What the answer is: the model files, the NumPy oracle and the order of every float operation (NUMERICS.md)."""

NUMERICS = 1
