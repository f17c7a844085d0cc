"""A long look at the promises of docs/guarantees.md: many callers, many faults, and a judge who only has the records.

    record.py   what callers write down: every request they sent, every answer they got, and when
    judge.py    finds whatever in the records no legal order of events can explain
    proxy.py    stands between callers and servers, and loses requests and answers on purpose
    run.py      callers, servers, proxies and faults, for as long as you like

    python -m tests.soak --minutes 10 --seed 7

A run of some seconds is part of the tests.
"""
