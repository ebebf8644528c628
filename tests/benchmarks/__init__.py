"""What is pure in the benchmarks."""
