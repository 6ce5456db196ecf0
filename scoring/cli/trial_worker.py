"""A worker process of ``trial run --workers``; ``scoring.trials.workers`` starts it."""

from __future__ import annotations

import sys

from scoring.cli.worker import run_worker
from scoring.trials.workers import run_trial_job

if __name__ == "__main__":
    sys.exit(run_worker(run_trial_job))
