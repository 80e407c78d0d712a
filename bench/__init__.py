"""The benchmarks: Plugnode beside its peers, in turns, in one run."""
