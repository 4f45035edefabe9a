"""Models that answer many at once: the engine, its HTTP server and the page."""
