"""Duplicates: exact ones, near ones, and paragraphs.

What is found is a function of the documents and their order in the corpus
alone. Of a cluster the longest document stays, and one that its source gives to
test before others.
"""
