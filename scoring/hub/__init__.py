"""Datasets on the Hugging Face hub: which files to read, download, upload.

- choices: configs and splits of a repository, and the choice of one
- repository: open a repository at a commit and download its files
- upload: push a folder as one dataset repository
- errors: what the hub answered, with what to do about it

Tokens are those of the hub's own login (``hf auth login`` or ``HF_TOKEN``); none is stored.
"""
