"""Export a subset: one module per kind of file.

- options, export_plan, export_records, json_edits: which samples, and the changes to their records
- formats, messages, tables, images: the files of each format
- trainers: what each trainer reads and ignores
- card, plots: descriptions for people and tools
- files: how a file is written and compared
- parents, push: the source on the hub, and the way back there
- export, manifest, verify: the folder, and how it is rebuilt and compared
"""
