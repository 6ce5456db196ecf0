"""Run the ``visnec`` command as ``python -m scoring``."""

from visnec_studio import main

if __name__ == "__main__":
    main()
