"""What we claim: pytest cases and asserts, each on the host device and on cuda from the same file."""
