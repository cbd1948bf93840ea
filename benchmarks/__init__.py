"""Speed and memory against named peers, as ratios of the same run: `make bench`."""
