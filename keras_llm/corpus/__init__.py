"""Raw text to clean, split documents. Knows nothing of tokens or models.

To read it in an hour, follow a document:

1. `prepare.py` runs the stages; `tasks.py` is what a task of each does. A task
   is some of the files; its results are files of its own, in a `store.py`.
2. `sources/` lists the files and reads documents out of them.
3. `rules/` clean a document or drop it, each counted (`rule.py`, `counts.py`).
4. `duplicates/` leaves hashes of it with the store. `plan.py` reads those of
   all documents: which stay, and in which split (`splitting.py`).
5. `leaks.py` looks for held-out text in what is trained on.
6. `documents.py` is the corpus as it is written, `report/` what is told of it.

`sandbox.py` is where files are read that may hang or crash their reader.
"""
