"""What an attack leaves: the result and its archive, and several of them as one.

Imports declarations.
"""
