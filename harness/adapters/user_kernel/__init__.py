"""A kernel that is not ours against an op's oracle: the arguments it gets, the cases it meets, the run."""
