"""The report: one self-contained HTML page, without any request.

Imports evaluation and figures.
"""
