"""Exceptions that are shown to the user instead of a traceback, with the exit code of each.

Every message states what is wrong, gives the offending value, and recommends what to do.
"""

from __future__ import annotations


class VisnecError(Exception):
    """Base of every error that is explained to the user instead of traced."""

    exit_code = 1


class InputError(VisnecError):
    """Wrong usage, or input that cannot be used. The message explains which and why."""

    exit_code = 2


class WorkspaceError(InputError):
    """A folder that is not a workspace, or a workspace that this version cannot open."""


class OutdatedError(WorkspaceError):
    """A database that is damaged or from another version, and can be rebuilt from the parts."""


class RecordError(InputError):
    """A dataset file that cannot be read. The message gives the file and the position in it."""


class ModelError(InputError):
    """A model that cannot be loaded or whose family is not supported."""


class RunConflictError(InputError):
    """A run that was continued with other settings, another model or another dataset."""


class FilterError(InputError):
    """An invalid filter expression. The message gives the invalid part and the alternatives."""


class RuleError(InputError):
    """A selection rule that is invalid, or whose data is not available."""


class MissingImagesError(InputError):
    """Images that an export lacks. The message gives their number and where they are listed."""


class StorageError(VisnecError):
    """Results that cannot be written, for example on a full disk. States what was saved."""


class WorkerError(VisnecError):
    """A worker process that exited early, with the end of its output and what was saved."""


class VerificationError(VisnecError):
    """An export that differs from what its workspace rebuilds. States the difference."""
