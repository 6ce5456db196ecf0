"""Explain what went wrong between this program and the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scoring.errors import InputError, VisnecError

LOGIN = "hf auth login, or set HF_TOKEN"
_MAX_TEXT = 200


@contextmanager
def explain_hub_errors(what: str, repository: str) -> Iterator[None]:
    """Turn errors of ``huggingface_hub`` into InputError; ``what`` names the action that failed."""
    from huggingface_hub import errors

    problem = f"Cannot {what} the dataset {repository!r} on the hub: "
    try:
        yield
    except VisnecError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{problem}it is gated. Accept its terms on its page, then log in with {LOGIN}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{problem}there is no such repository, or your login may not read it. Check the name; "
            f"for a private one log in with {LOGIN}."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{problem}it has no such revision. Name a branch, tag or commit of it."
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise InputError(f"{problem}you are not logged in. Log in with {LOGIN}.") from error
    except errors.HFValidationError as error:
        raise InputError(f"{problem}{_first_line(error)}") from error
    except errors.HfHubHTTPError as error:
        raise InputError(problem + _explain_status(error)) from error
    except Exception as error:
        if getattr(error, "errno", None) is not None:  # of the file system
            raise
        if not is_of_network(error):
            raise InputError(f"{problem}{_first_line(error)}.") from error
        raise InputError(
            f"{problem}the hub cannot be reached ({_first_line(error)}). Check the network, and "
            "HF_HUB_OFFLINE and HF_ENDPOINT if they are set."
        ) from error


def is_of_network(error: Exception) -> bool:
    """Return whether the hub could not be reached, or may not be (``HF_HUB_OFFLINE``)."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    is_of_client = type(error).__module__.partition(".")[0].startswith("httpx")
    return is_of_client or isinstance(
        error, ConnectionError | TimeoutError | LocalEntryNotFoundError
    )


def _explain_status(error: Exception) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 401:
        return f"the hub does not accept your login. Log in again with {LOGIN}."
    if status == 403:
        return (
            "your login has no right to do this. Use a token with write access to the owner of the "
            f"repository: {LOGIN}."
        )
    return f"{_first_line(error)}. Try again later."


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_MAX_TEXT].rstrip(".")
