"""What ztsession costs, beside what it could cost at least and what others cost, all in one run.

Absolute times move from machine to machine and from hour to hour; ratios taken in one run are what counts. So
every round measures the floor (raw SHA-256 rounds in C), ours and the peers one after the other, and every
row is read beside its neighbour in the same round. Nothing here passes or fails: a benchmark reports.

    python -m benchmarks            all rows, a few minutes, on an otherwise idle machine
    python -m benchmarks --quick    small counts, to see that it works
    python -m benchmarks --rows handshakes    what each way to a session costs, as a table in Markdown
    pytest benchmarks --benchmark-only    the same scenarios under pytest-benchmark
"""
