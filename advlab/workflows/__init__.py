"""Whole tasks that join crafting and evaluation: attack to an archive, run a suite, verify, demonstrate."""
