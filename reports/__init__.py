"""What it adds up to: reports made from stored rows only."""
