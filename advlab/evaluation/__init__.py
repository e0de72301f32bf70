"""Numbers from results, NumPy only: metrics, calibration, significance, findings, tables, records.

Imports results, declarations and data.
"""
