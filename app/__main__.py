"""python -m app: the operator's command line."""

from app.operator.cli import main

main()
