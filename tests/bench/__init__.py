"""The benchmark: `make bench` for the whole comparison, `make bench-scale` for growth.

Read `compare.py` first: it is the run, `scale.py` the other one. `laboratory.py` makes one measurement: with a database
(`world.py`, `seed.sql`), a server (`servers.py`, `peers/`), the load over HTTP (`load.py`, `load.lua`) or the yardstick
(`pgbench.py`). `figures.py` is the arithmetic from measurements to ratios and their targets; `table.py`, `chart.py` and
`report.py` show them; `profiling.py` says where time goes. Nothing here is a test but `test_bench.py`, which checks the
harness and never a time.
"""
