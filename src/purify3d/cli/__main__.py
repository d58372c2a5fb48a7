"""`python -m purify3d.cli`."""

from purify3d.cli import main

main()
