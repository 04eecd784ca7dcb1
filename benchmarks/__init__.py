"""What the speed tables of the README and docs/benchmarks.md quote; run with `make bench`."""
