"""`python -m pixtag` is the `pixtag` command."""

from pixtag.cli.main import main

if __name__ == "__main__":
    main()
