"""Outputs at the path of their digest, the record beside each, locks; a folder or an object store.

Runs in every process. May import recipe only.
"""
