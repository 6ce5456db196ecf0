"""The database of a workspace: the only package with SQL.

``build`` writes the file, ``connection.Store`` opens it, ``score_index`` keeps scores in memory and
``queries`` reads everything else.
"""
