"""The console: the pages in `static`, and how they are served."""
