"""How we know: rows, proofs, comparisons, the store and the command line."""
