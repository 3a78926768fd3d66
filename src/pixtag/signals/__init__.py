"""The signals: each reads the past before a query's time and scores candidate tags.

A signal owns its arrays, proposes candidates and gives features at (query, tag) pairs. It is
pure: array in, array out, the query time is part of every question. Signals know nothing of
stores, files or networks; `pixtag.state` composes them.
"""
