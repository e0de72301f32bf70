"""What TOML files and method files declare, checked before anything heavy is imported.

Imports the root alone.
"""
