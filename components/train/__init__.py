"""What runs in a training rank, and the files through which a launcher and its ranks speak.

May import plan, data, launch, store, recipe.
"""
