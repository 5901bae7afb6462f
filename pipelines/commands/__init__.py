"""The command line: what each command does.

Runs on the user's machine. May import every other folder; none imports it.
"""
