"""Labelled images: the type ``Dataset``, loading by name or path, official downloads, noise.

Imports the root alone.
"""
