"""A folder onto a hub of Hugging Face's kind, with a token that the environment brings and nothing else."""

import os
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from mmpretrain.core.errors import ConfigError, MmpretrainError

TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"


def refuse_push(name: str) -> None:
    """Raises ConfigError: there is no token, or no model of a hub is called so."""
    if not os.environ.get(TOKEN):
        raise ConfigError(f"--push: {name} needs a token; set {TOKEN} to one that may write")
    try:
        validate_repo_id(name)
    except ValueError as error:
        raise ConfigError(f"--push: {str(error).splitlines()[0]}") from error
    if "/" not in name:
        raise ConfigError(f"--push: {name!r} names no owner; write OWNER/NAME")


def push(folder: Path, name: str) -> str:
    """Upload a folder into a private repository, made where there is none; returns the address of what was added.

    Raises:
        MmpretrainError: the hub does not take it; the folder stays.
    """
    api = HfApi(endpoint=os.environ.get(ENDPOINT), token=os.environ[TOKEN])
    try:
        api.create_repo(name, private=True, exist_ok=True)
        return str(
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export of mmpretrain").commit_url
        )
    except Exception as error:  # whatever its client of the day raises
        said = " ".join(str(error).split())[:200]
        raise MmpretrainError(f"--push: {name}: {said}; {folder} stays as it is") from error
