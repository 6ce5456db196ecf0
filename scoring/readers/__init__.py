"""Readers: dataset files in, samples out, one at a time.

``families`` reads kinds of records, a module per kind of file (json_stream, tables, tars, tsv)
splits it into records, and ``sources`` combines them.
"""
