"""Everything that can go wrong on purpose, and the exit code it ends with.

Each message says what was wrong, which value it was, and what to do about it.

    VisnecError                 exit code 1
    ├── InputError              exit code 2: wrong usage, or input that the message explains
    │   ├── WorkspaceError      no workspace here, or one of another version
    │   │   └── OutdatedError   its database is of another version or damaged: build it anew
    │   ├── RecordError         a dataset file that cannot be read, with the place in it
    │   ├── ModelError          a model that cannot be loaded or is not supported
    │   ├── RunConflictError    a run continued with other settings, model or dataset
    │   ├── FilterError         a filter that does not parse
    │   ├── RuleError           a selection rule that does not parse or cannot be applied
    │   └── MissingImagesError  images that an export was to hold are not there
    ├── StorageError            results that cannot be written; says what is kept
    ├── WorkerError             a worker process that ended before its time; says what is kept
    └── VerificationError       an export that does not replay from its workspace
"""

from __future__ import annotations


class VisnecError(Exception):
    """Base of every error that is explained to the user instead of traced."""

    exit_code = 1


class InputError(VisnecError):
    """Wrong usage, or input that cannot be used; the message says which and why."""

    exit_code = 2


class WorkspaceError(InputError):
    """A folder that is no workspace, or one that this version cannot open."""


class OutdatedError(WorkspaceError):
    """A database that another version built, or that is damaged; the parts make a new one."""


class RecordError(InputError):
    """A dataset file that cannot be read; names the file and the place."""


class ModelError(InputError):
    """A model that cannot be loaded or whose family is not supported."""


class RunConflictError(InputError):
    """A run was continued with settings other than those it began with."""


class FilterError(InputError):
    """A filter expression that does not parse; names the part and the alternatives."""


class RuleError(InputError):
    """A selection rule that does not parse, or that lacks what it needs."""


class MissingImagesError(InputError):
    """Images that an export was to hold are missing; says how many and where they are listed."""


class StorageError(VisnecError):
    """Results that cannot be written, on a full disk for one; says what is kept."""


class WorkerError(VisnecError):
    """A worker process that ended before its time; says what it said and what is kept."""


class VerificationError(VisnecError):
    """An export that differs from what its workspace rebuilds; names the difference."""
