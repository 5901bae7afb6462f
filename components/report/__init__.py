"""What people read of a study: comparison, verdict, tables, plots, the page.

Runs in the task's process, or in the command's. May import every other room of the components.
"""
