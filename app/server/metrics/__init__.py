"""What an operator sees: numbers that every process counts, and gauges that one of them reads from the database.

    catalogue.py  every metric there is: its name, what it means, its labels
    counted.py    what was counted, from the board where all processes show it
    gauges.py     what the database says, every few seconds and with a time limit
    text.py       both, as Prometheus reads them
    page.py       the port that serves them
    pulse.py      what each process shows once a second

docs/operating/metrics.md says what to do about them.
"""
