"""Whole tasks that join crafting and evaluation, a file for each public function.

Imports every room but the command line.
"""
