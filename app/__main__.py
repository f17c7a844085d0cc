"""python -m app: the operator's command line."""

from app.cli import main

main()
