"""Readers: dataset files in, samples out, one at a time.

Modules for the record families (chats, pairs) and per kind of file (json_stream, tables,
tars, tsv). ``sources`` combines them.
"""
