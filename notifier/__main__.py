"""`python -m notifier` is the same as `notifier`."""

from notifier.cli import main

main()
