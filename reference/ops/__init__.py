"""The oracle, one file per operation, each in two forms with the same arguments: `exact` (float32 in the order of
NUMERICS.md, compared by bits) and `ideal` (float64 mathematics, compared by a bound). engine/ops has the same names.
"""
