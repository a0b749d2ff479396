"""Where the harness meets engines and the oracle; with harness.cli the only part that sees `engine` and `reference`."""
