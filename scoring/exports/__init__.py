"""Export a subset: one module per kind of file.

- options, export_plan, export_records, json_edits: which samples, and the changes to their records
- formats: the files of each format, and the text formats; tables, source_tables, shards, images
- card, plots, croissant: descriptions for people and tools
- files: how a file is written and compared
- export, staging, manifest, verify: the folder, and how it is rebuilt and compared
"""
