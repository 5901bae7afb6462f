"""What follows QB: outputs that are made of arms' models, whatever their stage.

Runs in the launcher's process. May import stages, merge and the rooms below.
"""
