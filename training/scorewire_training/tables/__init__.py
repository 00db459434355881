"""The tables that models are trained on: CSV and Parquet files as people have them.

What a file leaves open, such as its delimiter or the order of day and month, is
either settled by its values, or refused. What was found is told in notes.
"""
