"""What speaks against a number: checks of one result and of several, their evidence, and the checklists of the field.

Part of evaluation, and imports what evaluation may.
"""
