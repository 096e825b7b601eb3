"""What vipnas did before the refactoring to one path for images and videos, and tests that hold later code to it.

``make.py`` says which commit made the files, and how.
"""
